"""What `vcn prune` and `vcn erase` do to an output, and what they say of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from vcn_ray.config import RetentionConfig, RunConfig
from vcn_ray.errors import UsageError
from vcn_ray.io.rehearsal import rehearsal
from vcn_ray.io.storage import Storage
from vcn_ray.registry.persons import PersonOfTitle
from vcn_ray.report.pages import renew_pages
from vcn_ray.run.origins import LATEST
from vcn_ray.run.retention import LOST
from vcn_ray.run.tombstones import ERASURES, OPEN, check_no_open_erasure
from vcn_ray.upkeep.catalog_persons import find_wanted
from vcn_ray.upkeep.erase import Receipt, erase
from vcn_ray.upkeep.erase_plan import Asked, plan_erasure
from vcn_ray.upkeep.expiry import expire_results
from vcn_ray.upkeep.likeness import find_encoder
from vcn_ray.upkeep.order import Order, stored_orders
from vcn_ray.upkeep.persons import CorrectedTitles
from vcn_ray.upkeep.prune import find_garbage, remove_garbage
from vcn_ray.upkeep.registry_copies import expire_registry


@dataclass(frozen=True)
class PrunedOutput:
    """What pruning has removed, or would remove.

    Attributes:
        output: Where the results are.
        removed: `files` and `bytes` by kind of what nothing needs.
        remarks: What was kept although nothing names it, and why; and what is no longer possible.
        dry_run: True where nothing was changed.
        expired: Number of titles of which retention removes something, by what it is.
    """

    output: str
    removed: dict[str, dict[str, int]]
    remarks: tuple[str, ...]
    dry_run: bool
    expired: dict[str, int] = field(default_factory=dict)

    @property
    def files(self) -> int:
        """Number of files."""
        return sum(each["files"] for each in self.removed.values())

    @property
    def bytes(self) -> int:
        """Their bytes."""
        return sum(each["bytes"] for each in self.removed.values())


def prune_output(
    storage: Storage,
    dry_run: bool,
    retention: RetentionConfig | None = None,
    now: float | None = None,
) -> PrunedOutput:
    """Remove what no newest result of any title needs, and what need not be kept any longer.

    Args:
        storage: The output.
        dry_run: Only say what would be removed.
        retention: For how long pictures and embeddings are kept; None: for ever.
        now: Time stamp from which ages are counted; None: the present.

    Raises:
        UsageError: There are no titles and videos, or an erasure is not finished.
    """
    if not storage.names("titles") and not storage.names("videos"):
        raise UsageError(f"{storage.uri} holds no results: name the --output of vcn index")
    check_no_open_erasure(storage)
    found = find_garbage(storage, now)
    if not dry_run:
        remove_garbage(found.garbage, storage)
    expired = expire_results(found, retention or RetentionConfig(), storage, dry_run, now)
    gone = expire_registry(storage, retention or RetentionConfig(), expired, dry_run)
    if not dry_run:
        renew_pages(storage)
    lines = [f"{what} of {count} titles: {LOST[what]}" for what, count in expired.items()] + gone
    remarks = (*found.remarks, *lines)
    return PrunedOutput(storage.uri, found.totals(), remarks, dry_run, expired)


@dataclass(frozen=True, kw_only=True)
class EraseRequest:
    """Whom to erase.

    Attributes:
        persons: `TITLE:p003`, the title by its name or id; or `c-...`, a person of the registry.
        by: Who asks for it.
        reason: Why.
        names: Texts to search for at the end; they are not stored.
        resume: Finish erasures that were interrupted; then nobody is named.
        pack: Face models that the titles were indexed with; None: what the results name.
        config: Where packs are found.
    """

    persons: Sequence[str] = ()
    by: str = ""
    reason: str = ""
    names: Sequence[str] = ()
    resume: bool = False
    pack: str | None = None
    config: RunConfig = field(default_factory=RunConfig)


@dataclass(frozen=True)
class ErasedPersons:
    """What an erasure did, or would do.

    Attributes:
        output: Where the results are.
        receipts: Paths of the receipts, below the output.
        persons: Whom, in words; only of a dry run, since the record of an erasure names nobody.
        rewritten: Files that were written without the erased.
        removed: Files that were removed.
        found: What a search at the end has found: nothing, if all is well.
        versions_left: Hidden versions of objects that could not be deleted.
        remarks: Lines for people.
        dry_run: True where nothing was changed.
    """

    output: str
    receipts: tuple[str, ...]
    rewritten: tuple[str, ...]
    removed: tuple[str, ...]
    found: tuple[str, ...] = ()
    versions_left: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    dry_run: bool = False
    persons: tuple[str, ...] = ()


def erase_persons(storage: Storage, request: EraseRequest, dry_run: bool) -> ErasedPersons:
    """Erase persons, or finish what was interrupted.

    Args:
        storage: The output.
        request: Whom, and why.
        dry_run: Only say what would be rewritten and removed.

    Raises:
        UsageError: There is no such person, or another erasure is not finished.
    """
    if bool(request.persons) == request.resume:
        raise UsageError("name persons by --person, or use --resume to finish an erasure")
    remarks: list[str] = []
    names = list(request.names)
    orders = stored_orders(storage)
    if not request.resume:
        corrected = CorrectedTitles(storage)
        wanted, lines = find_wanted(request.persons, corrected)
        remarks += lines
        names += corrected.names_of(wanted)
        orders = list(_orders_for(corrected, wanted, orders, request, remarks))
    if dry_run:
        told = _foretold(storage, orders, remarks, names)
        return replace(told, persons=tuple(_in_words(orders, CorrectedTitles(storage))))
    receipts = [erase(order, storage, names) for order in orders]
    return _summed_up(storage, receipts, remarks)


def _orders_for(
    corrected: CorrectedTitles,
    wanted: list[PersonOfTitle],
    open_orders: list[Order],
    request: EraseRequest,
    remarks: list[str],
) -> Iterator[Order]:
    """The erasure of some persons: one that was interrupted, or a new one, or none."""
    storage, persons = corrected.storage, {tuple(each) for each in wanted}
    for order in open_orders:
        if not persons & set(order.persons):
            raise UsageError(
                f"another erasure in {storage.uri} is not finished: run vcn erase {storage.uri} "
                "--resume"
            )
        persons -= set(order.persons)
        yield order
    before = {path: erased for path, erased in _receipts(storage).items() if persons & erased}
    for path, erased in before.items():
        for title_id, person_id in sorted(persons & erased):
            remarks.append(f"{title_id}:{person_id} was erased before, see {path}")
        persons -= erased
    left = [each for each in wanted if tuple(each) in persons]
    if left and open_orders:
        names = ", ".join(f"{each.title_id}:{each.person_id}" for each in left)
        remarks.append(f"not begun, since another erasure had to be finished: {names}")
    elif left:
        asked = Asked(left, request.by, request.reason)
        encoders = partial(find_encoder, request.config, request.pack)
        yield plan_erasure(storage, asked, corrected, encoders)


def _in_words(orders: Iterable[Order], titles: CorrectedTitles) -> Iterator[str]:
    """The persons of erasures with their names and titles."""
    for title_id, person_id in dict.fromkeys(each for order in orders for each in order.persons):
        latest = titles.storage.find_sound_json(f"titles/{title_id}/{LATEST}")
        title = f"{latest['title']} ({title_id})" if latest else title_id
        name = titles.name_of(PersonOfTitle(title_id, person_id))
        yield f"{name}, {person_id} of {title}" if name else f"{person_id} of {title}"


def _receipts(storage: Storage) -> dict[str, set[tuple[str, ...]]]:
    """The persons of all finished erasures, by the path of the receipt."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for name in storage.names(ERASURES):
        if name.endswith(".json") and not name.endswith(OPEN) and name[0] != ".":
            content = storage.find_sound_json(f"{ERASURES}/{name}")
            persons = content["persons"] if content else []
            found[f"{ERASURES}/{name}"] = {(p["title_id"], p["person_id"]) for p in persons}
    return found


def _foretold(
    storage: Storage, orders: list[Order], remarks: list[str], names: Sequence[str]
) -> ErasedPersons:
    """What erasures would do: they are carried out where nobody sees it."""
    with rehearsal(storage) as rehearsed:
        receipts = [erase(order, rehearsed, names) for order in orders]
        done = _summed_up(storage, receipts, remarks)
    return replace(done, receipts=(), dry_run=True)


def _summed_up(storage: Storage, receipts: list[Receipt], remarks: list[str]) -> ErasedPersons:
    objects = [each for receipt in receipts for each in receipt.content["objects"]]
    return ErasedPersons(
        output=storage.uri,
        receipts=tuple(receipt.path for receipt in receipts),
        rewritten=tuple(o["path"] for o in objects if o["action"] == "rewritten"),
        removed=tuple(o["path"] for o in objects if o["action"] == "removed"),
        found=tuple(line for receipt in receipts for line in receipt.found),
        versions_left=tuple(
            f"{left['path']} {left['version']}: {left['why']}"
            for receipt in receipts
            for left in receipt.versions_left
        ),
        remarks=(*remarks, *(line for r in receipts for line in r.content["remarks"])),
    )
