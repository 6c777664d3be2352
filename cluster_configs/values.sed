# Values for the placeholders in this folder. Copy this file to a place outside the project, enter
# your values, and fill in a file:
#   sed -f ~/my-values.sed cluster_configs/aws.yaml > build/aws.yaml
s|REPLACE_REGION|eu-central-1|g
s|REPLACE_ACCOUNT_ID|000000000000|g
s|REPLACE_AMI|ami-00000000000000000|g
s|REPLACE_SUBNET_A|subnet-0000000000000000a|g
s|REPLACE_SUBNET_B|subnet-0000000000000000b|g
s|REPLACE_SECURITY_GROUP|sg-00000000000000000|g
s|REPLACE_INPUT_BUCKET|example-films|g
s|REPLACE_INPUT_PREFIX|catalog|g
s|REPLACE_OUTPUT_BUCKET|example-results|g
s|REPLACE_OUTPUT_PREFIX|vcn|g
s|REPLACE_KMS_KEY_ID|00000000-0000-0000-0000-000000000000|g
s|REPLACE_IMAGE|vcn-ray:0.1.0|g
