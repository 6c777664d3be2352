"""Plans of videos and titles that need no file."""

from __future__ import annotations

from vcn_ray.records import Segment, VideoInfo
from vcn_ray.run.plan import TitlePlan, VideoPlan

INFO = VideoInfo(320, 240, 0, 30.0, 25.0, "h264", hdr=False, interlaced=False)


def video(name: str, segments: int = 2, uri: str = "") -> VideoPlan:
    """A video of so many segments; by default its uri is made of its name."""
    return VideoPlan(
        uri=uri or f"{name}.mp4",
        video_id=name,
        info=INFO,
        segments=tuple(
            Segment(number, number, number + 1, 30.0 * number, 30.0 * (number + 1))
            for number in range(segments)
        ),
        detect_folder=f"videos/{name}/detect-1",
        track_folder=f"videos/{name}/track-1",
    )


def title(name: str, *videos: VideoPlan) -> TitlePlan:
    """A title of these videos."""
    return TitlePlan(
        title=name,
        title_id=name.lower(),
        videos=videos,
        adapt_folder=f"titles/{name.lower()}/adapt-1",
        cluster_folder=f"titles/{name.lower()}/cluster-1",
        missing=(),
    )
