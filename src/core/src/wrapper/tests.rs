//! How often the KMS is asked, and what a keyring survives.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_executor::block_on;
use futures_util::future::{Either, join_all, pending, poll_fn, select};

use super::*;
use crate::clock::{ManualClock, Timestamp};
use crate::name::{Scope, SecretName};
use crate::secret::{Kind, Version};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

/// A KMS that counts its calls, and can be down, hang or be rotated.
#[derive(Debug)]
struct Kms {
    identity: String,
    keys: Mutex<Vec<[u8; 32]>>,
    calls: AtomicU64,
    down: AtomicBool,
    hangs: AtomicBool,
}

impl Kms {
    fn new(identity: &str) -> Arc<Self> {
        Arc::new(Self {
            identity: identity.to_owned(),
            keys: Mutex::new(vec![random::array().expect("randomness")]),
            calls: AtomicU64::new(0),
            down: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
        })
    }

    fn turn(&self) {
        self.keys.lock().expect("no panic").push(random::array().expect("randomness"));
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    async fn call(&self) -> Result<()> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        // As over a network: everybody gets a turn before it answers.
        for _ in 0..16 {
            yield_now().await;
        }
        if self.hangs.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
        if self.down.load(Ordering::Relaxed) {
            return Err(Error::unavailable("the KMS is down"));
        }
        Ok(())
    }
}

#[async_trait]
impl KeyWrapper for Kms {
    fn identity(&self) -> &str {
        &self.identity
    }

    async fn wrap(&self, dek: &Dek, context: &EncryptionContext) -> Result<WrappedDek<'static>> {
        self.call().await?;
        let keys = self.keys.lock().expect("no panic");
        let nonce = random::array::<12>()?;
        let mut bytes = [&nonce[..], dek.expose()].concat();
        let suite = crate::Suite::Aes256Gcm;
        let key = keys.last().expect("one");
        let tag = suite.seal_detached(key, &nonce, context.as_bytes(), &mut bytes[12..])?;
        bytes.extend_from_slice(&tag);
        Ok(WrappedDek {
            kek: self.identity.clone().into(),
            kek_version: keys.len().to_string().into(),
            bytes: bytes.into(),
        })
    }

    async fn unwrap(&self, wrapped: &WrappedDek<'_>, context: &EncryptionContext) -> Result<Dek> {
        self.call().await?;
        if wrapped.kek != self.identity {
            return Err(Error::key_unavailable("another KEK"));
        }
        let keys = self.keys.lock().expect("no panic");
        let key = keys[wrapped.kek_version.parse::<usize>().expect("a number") - 1];
        let (nonce, rest) = wrapped.bytes.split_first_chunk::<12>().expect("whole");
        let (sealed, tag) = rest.split_at(32);
        let suite = crate::Suite::Aes256Gcm;
        let tag = tag.try_into().expect("whole");
        Dek::from_secret(suite.open_detached(&key, nonce, context.as_bytes(), sealed, tag)?)
    }

    async fn current_version(&self) -> Result<String> {
        if self.down.load(Ordering::Relaxed) {
            return Err(Error::unavailable("the KMS is down"));
        }
        Ok(self.keys.lock().expect("no panic").len().to_string())
    }

    async fn check(&self) -> Result<()> {
        self.call().await
    }

    async fn rotate(&self, _: &str) -> Result<String> {
        self.turn();
        self.current_version().await
    }
}

async fn yield_now() {
    let mut asked = false;
    poll_fn(|task| {
        if std::mem::replace(&mut asked, true) {
            return Poll::Ready(());
        }
        task.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What comes of `call` while time goes on.
fn while_time_passes<T>(clock: &ManualClock, call: impl Future<Output = T>) -> T {
    let time = async {
        loop {
            clock.advance(Duration::from_secs(2));
            yield_now().await;
        }
    };
    match block_on(select(pin!(call), pin!(time))) {
        Either::Left((answer, _)) => answer,
        Either::Right((never, _)) => never,
    }
}

fn context_in(scope: &str, id: &str) -> EncryptionContext {
    let scope: Scope = scope.parse().expect("valid");
    let name = SecretName::new(scope, id).expect("valid");
    EncryptionContext::new(&name, &Version::new("1").expect("valid"), Kind::Text)
}

fn context(id: &str) -> EncryptionContext {
    context_in("acme/ops", id)
}

fn cached(kms: &Arc<Kms>, clock: &ManualClock, options: KeyCacheOptions) -> CachedKeys {
    CachedKeys::new(kms.clone(), options, Arc::new(clock.clone()))
}

fn branches(kms: &Arc<Kms>, clock: &ManualClock, options: BranchOptions) -> BranchKeys {
    BranchKeys::new(kms.clone(), options, Arc::new(clock.clone()))
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

// === cached keys ===

#[test]
fn a_cached_key_is_unwrapped_once_until_its_time_or_uses_end() {
    let (kms, clock) = (Kms::new("kms"), ManualClock::new(Timestamp(0)));
    let options = KeyCacheOptions { max_uses: 3, ..KeyCacheOptions::default() };
    let ttl = options.ttl;
    let keys = cached(&kms, &clock, options);
    let context = context("a");
    let (dek, wrapped) = block_on(kms.generate(&context)).expect("generated");
    let mut calls = Vec::new();
    for round in 0..8 {
        if round == 7 {
            clock.advance(ttl);
        }
        let back = block_on(keys.unwrap(&wrapped, &context)).expect("unwrapped");
        assert!(back.expose() == dek.expose());
        calls.push(kms.calls() - 1);
    }
    assert_eq!(calls, [1, 1, 1, 2, 2, 2, 3, 4], "three uses each, and the last is too old");
    assert_eq!(keys.stats(), KeyCacheStats { hits: 4, misses: 4 });
}

#[test]
fn what_was_just_wrapped_is_at_hand() {
    let (kms, clock) = (Kms::new("kms"), ManualClock::new(Timestamp(0)));
    let keys = cached(&kms, &clock, KeyCacheOptions::default());
    let (dek, wrapped) = block_on(keys.generate(&context("a"))).expect("generated");
    let back = block_on(keys.unwrap(&wrapped, &context("a"))).expect("unwrapped");
    assert!(back.expose() == dek.expose());
    assert_eq!(kms.calls(), 1);
}

#[test]
fn a_cached_key_is_found_by_its_own_bytes_and_context_only() {
    let (kms, clock) = (Kms::new("kms"), ManualClock::new(Timestamp(0)));
    let keys = cached(&kms, &clock, KeyCacheOptions::default());
    let (_, wrapped) = block_on(keys.generate(&context("a"))).expect("generated");
    let other = block_on(keys.unwrap(&wrapped, &context("b")));
    assert_eq!(kind(other), Some(ErrorKind::Tampered));
    let mut altered = wrapped.clone();
    altered.bytes.to_mut()[20] ^= 1;
    assert_eq!(kind(block_on(keys.unwrap(&altered, &context("a")))), Some(ErrorKind::Tampered));
    let renamed = WrappedDek { kek: "other".into(), ..wrapped };
    let renamed = block_on(keys.unwrap(&renamed, &context("a")));
    assert_eq!(kind(renamed), Some(ErrorKind::KeyUnavailable));
}

#[test]
fn many_who_want_a_key_cause_one_call_and_an_error_is_not_kept() {
    let (kms, clock) = (Kms::new("kms"), ManualClock::new(Timestamp(0)));
    let keys = cached(&kms, &clock, KeyCacheOptions::default());
    let context = context("a");
    let (_, wrapped) = block_on(kms.generate(&context)).expect("generated");
    kms.down.store(true, Ordering::Relaxed);
    let all = || block_on(join_all((0..10).map(|_| keys.unwrap(&wrapped, &context))));
    assert!(all().into_iter().all(|answer| kind(answer) == Some(ErrorKind::Unavailable)));
    let failed = kms.calls();
    assert_eq!(failed, 2, "one to make it, one for all ten");
    kms.down.store(false, Ordering::Relaxed);
    assert!(all().iter().all(Result::is_ok));
    assert_eq!(kms.calls() - failed, 1);
}

#[test]
fn a_flight_that_was_left_blocks_nobody() {
    let (kms, clock) = (Kms::new("kms"), ManualClock::new(Timestamp(0)));
    let keys = cached(&kms, &clock, KeyCacheOptions::default());
    let context = context("a");
    let (_, wrapped) = block_on(kms.generate(&context)).expect("generated");
    kms.hangs.store(true, Ordering::Relaxed);
    let mut hanging = Box::pin(keys.unwrap(&wrapped, &context));
    assert!(futures_util::FutureExt::now_or_never(&mut hanging).is_none());
    drop(hanging);
    kms.hangs.store(false, Ordering::Relaxed);
    assert!(block_on(keys.unwrap(&wrapped, &context)).is_ok());
}

#[test]
fn keys_beyond_the_limit_push_out_the_oldest() {
    let (kms, clock) = (Kms::new("kms"), ManualClock::new(Timestamp(0)));
    let options = KeyCacheOptions { max_bytes: 512, ..KeyCacheOptions::default() };
    let keys = cached(&kms, &clock, options);
    let ids = ["a", "b", "c"];
    let wrapped = ids.map(|id| block_on(keys.generate(&context(id))).expect("generated").1);
    let made = kms.calls();
    for at in [2, 1, 0] {
        block_on(keys.unwrap(&wrapped[at], &context(ids[at]))).expect("unwrapped");
    }
    assert_eq!(kms.calls() - made, 1, "two are at hand");
}

// === branch keys ===

#[test]
fn ten_thousand_cold_reads_of_a_scope_cost_a_handful_of_calls() {
    let (kms, clock) = (Kms::new("kms"), ManualClock::new(Timestamp(0)));
    let writer = branches(&kms, &clock, BranchOptions::default());
    let ids: Vec<String> = (0..10_000).map(|n| format!("s{n}")).collect();
    let wrap = |id: &String| block_on(writer.generate(&context(id))).expect("generated");
    let wrapped: Vec<_> = ids.iter().map(wrap).collect();
    assert_eq!(kms.calls(), 1, "writes");
    let reader = branches(&kms, &clock, BranchOptions::default());
    for (id, (dek, wrapped)) in ids.iter().zip(&wrapped) {
        let back = block_on(reader.unwrap(wrapped, &context(id))).expect("unwrapped");
        assert!(back.expose() == dek.expose(), "{id}");
    }
    assert_eq!(kms.calls(), 2, "and cold reads");
    let plain = Kms::new("plain");
    for id in &ids {
        let (_, wrapped) = block_on(plain.generate(&context(id))).expect("generated");
        block_on(plain.unwrap(&wrapped, &context(id))).expect("unwrapped");
    }
    assert_eq!(plain.calls(), 20_000, "without");
}

#[test]
fn a_branch_key_of_one_scope_opens_nothing_of_another() {
    let (kms, clock) = (Kms::new("kms"), ManualClock::new(Timestamp(0)));
    let keys = branches(&kms, &clock, BranchOptions::default());
    let (_, wrapped) = block_on(keys.generate(&context_in("acme/ops", "a"))).expect("generated");
    for scope in ["acme", "acme/dev", "acme/ops/web"] {
        let moved = block_on(keys.unwrap(&wrapped, &context_in(scope, "a")));
        assert_eq!(kind(moved), Some(ErrorKind::Tampered), "{scope}");
    }
    block_on(keys.generate(&context_in("acme", "a"))).expect("generated");
    let calls = kms.calls();
    block_on(keys.generate(&context_in("acme/dev", "a"))).expect("generated");
    assert_eq!(kms.calls() - calls, 1, "each scope has its own");
}

#[test]
fn a_branch_key_ends_with_its_age_its_uses_and_its_keks_version() {
    let (kms, clock) = (Kms::new("kms"), ManualClock::new(Timestamp(0)));
    let options = BranchOptions { max_uses: 2, ..BranchOptions::default() };
    let (age, check) = (options.max_age, options.version_check);
    let keys = branches(&kms, &clock, options);
    let wrap = || block_on(keys.generate(&context("a"))).expect("generated").1;
    let calls = |action: &dyn Fn()| {
        let before = kms.calls();
        action();
        wrap();
        kms.calls() - before
    };
    assert_eq!(calls(&|| ()), 1);
    assert_eq!(calls(&|| ()), 0);
    assert_eq!(calls(&|| ()), 1, "used up");
    assert_eq!(calls(&|| clock.advance(age)), 1, "too old");
    kms.turn();
    assert_eq!(wrap().kek_version, "1", "nobody has looked yet");
    clock.advance(check);
    assert_eq!(wrap().kek_version, "2", "the KMS has rotated");
    let version = block_on(keys.rotate(keys.identity())).expect("rotated");
    assert_eq!(wrap().kek_version, version, "our own rotation is noticed at once");
}

#[test]
fn a_rewrap_asks_the_kms_once_for_each_branch_key() {
    let (kms, clock) = (Kms::new("kms"), ManualClock::new(Timestamp(0)));
    let keys = branches(&kms, &clock, BranchOptions::default());
    let ids: Vec<String> = (0..100).map(|n| format!("s{n}")).collect();
    let made: Vec<_> =
        ids.iter().map(|id| block_on(keys.generate(&context(id))).expect("generated")).collect();
    block_on(keys.rotate("branch:kms")).expect("rotated");
    let before = kms.calls();
    for (id, (dek, wrapped)) in ids.iter().zip(&made) {
        let rewrapped = block_on(keys.rewrap(wrapped, &context(id))).expect("rewrapped");
        assert_eq!(rewrapped.kek_version, "2");
        let back = block_on(keys.unwrap(&rewrapped, &context(id))).expect("unwrapped");
        assert!(back.expose() == dek.expose());
    }
    assert!(kms.calls() - before <= 4, "{} calls", kms.calls() - before);
}

#[test]
fn branch_keys_are_turned_on_and_off_by_a_rewrap() {
    let (kms, clock) = (Kms::new("kms"), ManualClock::new(Timestamp(0)));
    let on = branches(&kms, &clock, BranchOptions::default());
    let off = branches(&kms, &clock, BranchOptions { enabled: false, ..BranchOptions::default() });
    let (dek, plain) = block_on(off.generate(&context("a"))).expect("generated");
    assert_eq!(plain.kek, "kms");
    let branched = block_on(on.rewrap(&plain, &context("a"))).expect("rewrapped");
    assert_eq!(branched.kek, "branch:kms");
    let plain = block_on(off.rewrap(&branched, &context("a"))).expect("rewrapped");
    assert_eq!(plain.kek, "kms");
    for (wrapper, wrapped) in [(&on, &plain), (&off, &branched)] {
        let back = block_on(wrapper.unwrap(wrapped, &context("a"))).expect("unwrapped");
        assert!(back.expose() == dek.expose());
    }
}

// === keyring ===

struct Three {
    members: [Arc<Kms>; 3],
    clock: ManualClock,
    keyring: Keyring,
}

fn three(quorum: usize) -> Three {
    let members = ["a", "b", "c"].map(Kms::new);
    let clock = ManualClock::new(Timestamp(0));
    let all = members.iter().map(|kms| kms.clone() as Arc<dyn KeyWrapper>);
    let keyring = Keyring::new(all.collect(), quorum).expect("valid");
    let keyring = keyring.with_patience(Duration::from_secs(2), Arc::new(clock.clone()));
    Three { members, clock, keyring }
}

fn keks(wraps: &Wraps) -> Vec<(&str, &str)> {
    wraps.deks.iter().map(|dek| (&*dek.kek, &*dek.kek_version)).collect()
}

#[test]
fn reading_survives_the_loss_of_all_keks_but_one() {
    let Three { members, keyring, .. } = three(3);
    let (dek, wraps) = block_on(keyring.generate_all(&context("a"))).expect("generated");
    assert_eq!(keks(&wraps), [("a", "1"), ("b", "1"), ("c", "1")]);
    for alive in 0..3 {
        for (index, member) in members.iter().enumerate() {
            member.down.store(index != alive, Ordering::Relaxed);
        }
        let back = block_on(keyring.unwrap_any(&wraps.deks, &context("a"))).expect("unwrapped");
        assert!(back.expose() == dek.expose(), "{alive}");
    }
    members[2].down.store(true, Ordering::Relaxed);
    let lost = block_on(keyring.unwrap_any(&wraps.deks, &context("a")));
    assert_eq!(kind(lost), Some(ErrorKind::Unavailable));
}

#[test]
fn the_preferred_kek_is_asked_first_whatever_the_records_order() {
    let Three { members, keyring, .. } = three(3);
    let (_, mut wraps) = block_on(keyring.generate_all(&context("a"))).expect("generated");
    wraps.deks.reverse();
    let before: Vec<u64> = members.iter().map(|kms| kms.calls()).collect();
    block_on(keyring.unwrap_any(&wraps.deks, &context("a"))).expect("unwrapped");
    let calls: Vec<u64> = members.iter().zip(before).map(|(kms, was)| kms.calls() - was).collect();
    assert_eq!(calls, [1, 0, 0]);
}

#[test]
fn a_write_needs_its_quorum_and_tells_who_failed() {
    let Three { members, keyring, .. } = three(2);
    members[0].down.store(true, Ordering::Relaxed);
    let (dek, wraps) = block_on(keyring.generate_all(&context("a"))).expect("two are enough");
    assert_eq!(keks(&wraps), [("b", "1"), ("c", "1")]);
    let missing: Vec<_> = wraps.missing.iter().map(|one| (&*one.kek, one.kind)).collect();
    assert_eq!(missing, [("a", ErrorKind::Unavailable)]);
    let back = block_on(keyring.unwrap_any(&wraps.deks, &context("a"))).expect("unwrapped");
    assert!(back.expose() == dek.expose());

    members[1].down.store(true, Ordering::Relaxed);
    let error = block_on(keyring.generate_all(&context("a"))).expect_err("one is too few");
    assert!(error.is_retryable());
    for part in ["only 1 of 3", "quorum is 2", "a (", "b ("] {
        assert!(error.message().contains(part), "{error}");
    }
}

#[test]
fn a_member_that_does_not_answer_holds_up_neither_writes_nor_reads_for_ever() {
    let Three { members, clock, keyring } = three(2);
    let (dek, wraps) = block_on(keyring.generate_all(&context("a"))).expect("generated");
    members[0].hangs.store(true, Ordering::Relaxed);
    let context = context("a");
    let made = while_time_passes(&clock, keyring.generate_all(&context));
    assert_eq!(made.expect("two are enough").1.missing[0].kek, "a");
    let back = while_time_passes(&clock, keyring.unwrap_any(&wraps.deks, &context));
    assert!(back.expect("the next has it").expose() == dek.expose());
}

#[test]
fn an_altered_wrap_is_an_alarm_even_where_another_opens() {
    let Three { members, keyring, .. } = three(3);
    let (_, mut wraps) = block_on(keyring.generate_all(&context("a"))).expect("generated");
    wraps.deks[0].bytes.to_mut()[20] ^= 1;
    members[0].turn();
    let answer = block_on(keyring.unwrap_any(&wraps.deks, &context("a")));
    assert_eq!(kind(answer), Some(ErrorKind::Tampered));
    let answer = block_on(keyring.rewrap_all(&wraps.deks, &context("a")));
    assert_eq!(kind(answer), Some(ErrorKind::Tampered));
}

#[test]
fn a_rewrap_adds_removes_and_renews_members() {
    let Three { members, keyring, .. } = three(1);
    let context = context("a");
    let (dek, wrapped) = block_on(members[1].generate(&context)).expect("generated");
    members[1].turn();
    let other = block_on(Kms::new("x").wrap(&dek, &context)).expect("wrapped");
    members[2].down.store(true, Ordering::Relaxed);
    let wraps = block_on(keyring.rewrap_all(&[other, wrapped], &context)).expect("rewrapped");
    assert_eq!(keks(&wraps), [("a", "1"), ("b", "2")], "x is dropped");
    assert_eq!(wraps.missing[0].kek, "c");
    let states = block_on(keyring.keks()).expect("two answer");
    assert_eq!(states[2].current, None);
    assert!(!are_current(wraps.deks.iter().cloned(), &states), "c is missing");

    members[2].down.store(false, Ordering::Relaxed);
    let wraps = block_on(keyring.rewrap_all(&wraps.deks, &context)).expect("rewrapped");
    assert_eq!(keks(&wraps), [("a", "1"), ("b", "2"), ("c", "1")]);
    let states = block_on(keyring.keks()).expect("all answer");
    assert!(are_current(wraps.deks.iter().cloned(), &states));
    for member in &members {
        let own = wraps.deks.iter().find(|one| one.kek == member.identity).expect("one each");
        assert!(block_on(member.unwrap(own, &context)).expect("opens").expose() == dek.expose());
    }

    members[0].down.store(true, Ordering::Relaxed);
    let kept = block_on(keyring.rewrap_all(&wraps.deks, &context)).expect("rewrapped");
    assert_eq!(keks(&kept).len(), 3, "who is down keeps the wrap that he has");
}

#[test]
fn a_keyring_that_cannot_hold_its_promise_is_refused() {
    let kms = || Kms::new("a") as Arc<dyn KeyWrapper>;
    let new = |members: Vec<_>, quorum| kind(Keyring::new(members, quorum));
    let refused = Some(ErrorKind::Configuration);
    assert_eq!(new(vec![], 1), refused);
    assert_eq!(new(vec![kms()], 0), refused);
    assert_eq!(new(vec![kms()], 2), refused);
    assert_eq!(new(vec![kms(), kms()], 1), refused, "twice the same");
    assert_eq!(new((0..17).map(|n| Kms::new(&n.to_string()) as _).collect(), 1), refused);
    assert_eq!(new(vec![kms()], 1), None);
}
