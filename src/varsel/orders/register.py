"""Stage 1: an order is accepted. Look up, store, answer after the commit (processing 2, design 8 "Intake batch")."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from varsel.clock import Clock
from varsel.db import Database
from varsel.domain.errors import OverLimit, RegistryUnavailable
from varsel.domain.ids import ChainId, OrderId
from varsel.domain.order import Chain, Lane, Order
from varsel.orders import chain_store, store
from varsel.orders.batch import Batcher
from varsel.orders.chain_store import Key, StoredChain
from varsel.orders.creators import Creators
from varsel.orders.quotas import Limits, Quotas, Wish, unlimited
from varsel.recipients.directory import Outages
from varsel.recipients.lookup import LookupSummary, Query, is_direct, look_up_each, summarise
from varsel.recipients.ports import ContactDirectory
from varsel.wakeup import Waker, Work

_BATCHED_BELOW_RECIPIENTS: Final = 50  # bigger orders gain nothing from company, and would hold it up


@dataclass(frozen=True, slots=True)
class Registration:
    order_id: OrderId
    lookup: LookupSummary | None


@dataclass(frozen=True, slots=True)
class Registered:
    """The chain is stored. Its orders are those that were given."""

    id: ChainId


@dataclass(frozen=True, slots=True)
class Repeated:
    """The idempotency id was used before: this was answered then. `same`: for the same request."""

    first: StoredChain
    same: bool


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Nobody can be reached at these identifiers; nothing is stored (http-api 9)."""

    identifiers: tuple[str, ...]


ChainOutcome = Registered | Repeated | Unreachable


@dataclass(frozen=True, slots=True)
class _Submission:
    """What is stored together: one v1 order, or the orders of a chain, the main one first."""

    orders: tuple[Order, ...]
    chain: Chain | None = None


_Answer = list[LookupSummary | None] | ChainOutcome
_Lookup = LookupSummary | None | RegistryUnavailable
_Refusal = RegistryUnavailable | OverLimit


class Register:
    """Where orders are accepted. One for each process: it owns the batcher and remembers creators' ids."""

    def __init__(
        self,
        db: Database,
        directory: ContactDirectory,
        clock: Clock,
        waker: Waker,
        *,
        user_addresses: bool = True,
        live: bool = False,
        outages: Outages | None = None,
        limits: Limits = unlimited,
    ) -> None:
        """`live`: `directory` asks others than our database, so that orders which need nobody do not wait for it.

        `outages`: None when nobody's orders are taken while a register is down that they need. `limits`: of creators.
        """
        self._db = db
        self._directory = directory
        self._clock = clock
        self._waker = waker
        self._user_addresses = user_addresses
        self._outages = outages
        self._creators = Creators(db, clock)
        self._quotas = Quotas(db, clock, limits, self._creators)
        self._live = live
        self._batcher: Batcher[_Submission, _Answer] = Batcher(self._register)
        self._asking: Batcher[_Submission, _Answer] = Batcher(self._register)

    async def register_order(self, order: Order) -> Registration:
        """Store the order durably and say who can be reached.

        The lookup informs only: it never rejects an order. Raises `OverLimit`, and `Unavailable` (a register or the
        database); then nothing is stored, or, after a commit of unknown outcome, perhaps.
        """
        answer = await self._submit(_Submission((order,)))
        assert isinstance(answer, list)
        return Registration(order.id, answer[0])

    async def register_chain(self, chain: Chain, orders: Sequence[Order]) -> ChainOutcome:
        """Store the main order and its reminders together, unless the idempotency id was used or somebody is missing.

        Any number of equal requests at once store one chain, and all are told its ids; they are counted once. Raises as
        above; repeating the request then is safe.
        """
        answer = await self._submit(_Submission(tuple(orders), chain))
        assert not isinstance(answer, list)
        return answer

    async def close(self) -> None:
        await self._batcher.close()
        await self._asking.close()
        await self._quotas.close()

    async def _submit(self, submission: _Submission) -> _Answer:
        recipients = sum(len(order.recipients) for order in submission.orders)
        if recipients < _BATCHED_BELOW_RECIPIENTS:
            batcher = self._asking if self._live and _asks(submission) else self._batcher
            return await batcher.submit(submission, recipients)
        (answer,) = await self._register([submission])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _register(self, submissions: Sequence[_Submission]) -> list[_Answer | _Refusal]:
        await self._creators.know({s.orders[0].creator for s in submissions})
        answers: dict[int, _Answer | _Refusal] = {**await self._repeats(dict(enumerate(submissions)))}
        fresh = {i: s for i, s in enumerate(submissions) if i not in answers}
        looked_up = await self._look_up([order for s in fresh.values() for order in s.orders])
        for i, submission in fresh.items():
            answers[i] = _decide(submission, [looked_up[order.id] for order in submission.orders])
        accepted = {i: s for i, s in fresh.items() if not isinstance(answers[i], Unreachable | RegistryUnavailable)}
        answers |= await self._count_and_store(accepted)
        return [answers[i] for i in range(len(submissions))]

    async def _count_and_store(self, submissions: dict[int, _Submission]) -> dict[int, _Answer | OverLimit]:
        """Store those that are within their creators' limits. Answers for those that are not stored."""
        wishes = {i: wish for i, s in submissions.items() if (wish := self._quotas.wish(s.orders))}
        refusals = dict(zip(wishes, await self._quotas.take(list(wishes.values())), strict=True))
        refused = {i: refusal for i, refusal in refusals.items() if refusal}
        served = {i: wish for i, wish in wishes.items() if i not in refused}
        try:
            lost = await self._store({i: s for i, s in submissions.items() if i not in refused}, served)
        except Exception:
            await self._quotas.give_back(list(served.values()))
            raise
        await self._quotas.give_back([served[i] for i in lost if i in served])
        # an equal request may have been stored since we looked: that one was counted, and this is its repeat
        return {**lost, **refused, **await self._repeats({i: submissions[i] for i in refused})}

    async def _look_up(self, orders: Sequence[Order]) -> dict[OrderId, _Lookup]:
        """Everybody of a batch is looked up at once, in one way or, where creators want another, in two."""
        now, answers = self._clock.now(), dict[OrderId, _Lookup]()
        groups: dict[bool, list[Order]] = {}
        for order in orders:
            lenient = self._outages is not None and self._outages.concern(order.creator)
            groups.setdefault(lenient, []).append(order)
        for lenient, group in groups.items():
            directory = self._outages.directory if self._outages and lenient else self._directory
            queries = [_query(order) for order in group]
            reaches = await look_up_each(directory, queries, now=now, user_addresses=self._user_addresses)
            for order, query, reach in zip(group, queries, reaches, strict=True):
                answers[order.id] = reach if isinstance(reach, RegistryUnavailable) else summarise(query, reach)
        return answers

    async def _store(self, submissions: dict[int, _Submission], wishes: Mapping[int, Wish]) -> dict[int, _Answer]:
        """Store them in one transaction. Returns answers for those that lost a race for their idempotency id."""
        if not submissions:
            return {}
        now = self._clock.now()
        orders = [(order, self._creators[order.creator]) for s in submissions.values() for order in s.orders]
        chains = [(s.chain, s.orders) for s in submissions.values() if s.chain]
        shares = {order: share for wish in wishes.values() for order, share in wish.shares.items()}
        async with self._db.routine() as conn:  # one statement, one transaction
            won = await store.insert_orders(conn, orders, chains, self._creators.ids, now=now, shares=shares)
        if due := {order.lane for order, _ in orders if order.requested_send_time <= now}:
            self._waker.wake(Work.ORDERS if Lane.BULK in due else Work.ORDINARY_ORDERS)
        lost = {i: s for i, s in submissions.items() if s.chain and s.chain.id not in won}
        return {**await self._repeats(lost)}

    async def _repeats(self, submissions: dict[int, _Submission]) -> dict[int, Repeated]:
        """Those whose idempotency id is taken, in a statement of its own: it sees what was committed meanwhile."""
        keys = {i: self._key(s.chain) for i, s in submissions.items() if s.chain}
        if not keys:
            return {}
        async with self._db.routine() as conn:
            found = await chain_store.find_chains(conn, list(keys.values()))
        repeats = {}
        for i, key in keys.items():
            chain = submissions[i].chain
            if key in found and chain:
                repeats[i] = Repeated(found[key], same=found[key].request_hash == chain.request_hash)
        return repeats

    def _key(self, chain: Chain) -> Key:
        return self._creators[chain.creator], chain.idempotency_id, chain.family


def _decide(submission: _Submission, lookups: Sequence[_Lookup]) -> _Answer | RegistryUnavailable:
    """A v1 order is accepted whoever is missing; a chain only when everybody can be reached, or is reserved."""
    found: list[LookupSummary | None] = []
    for lookup in lookups:
        if isinstance(lookup, RegistryUnavailable):
            return lookup
        found.append(lookup)
    if submission.chain is None:
        return found
    missing = tuple(identifier for lookup in found if lookup for identifier in lookup.missing_contact)
    return Unreachable(missing) if missing else Registered(submission.chain.id)


def _asks(submission: _Submission) -> bool:
    """Whether anybody must be looked up."""
    return any(not is_direct(r, order.channel) for order in submission.orders for r in order.recipients)


def _query(order: Order) -> Query:
    return Query(order.channel, order.recipients, order.allow_stale, order.resource_id, order.resource_action)
