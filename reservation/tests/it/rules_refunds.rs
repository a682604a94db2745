//! The rules of giving back: how much of what, and a ledger that is right whoever tells of a refund first.

use proptest::prelude::*;
use slotcast_reservation::domain::{
    effects::{
        Account, LedgerKind, LedgerTransaction, PaymentKind, PaymentRequest, PaymentState,
        PaymentState::{Declined, Done, Waiting},
    },
    refusal::Refusal,
    rules::{self, Money},
    words::{Amount, MemberNumber},
};
use slotcast_reservation_testing::values::{next, payment, reservation, slot};

/// Of the window, and of its extension.
const FIRST: &str = "capture-authorise-1-1";
const SECOND: &str = "capture-authorise-1-until-600-1";

fn amount(minor: i64) -> Amount {
    Amount::new(minor).unwrap()
}

fn capture(key: &str, minor: i64) -> PaymentRequest {
    payment(key, PaymentKind::Capture, 1, minor)
}

/// A reservation's money, to which things happen.
#[derive(Clone, Debug, Default)]
struct Books {
    payments: Vec<(PaymentRequest, PaymentState)>,
    ledger: Vec<LedgerTransaction>,
}

impl Books {
    /// The two captures that were done, of 2000 and 500; `is_collected`: by a provider, else the member is billed.
    fn taken(is_collected: bool) -> Self {
        let captures = [capture(FIRST, 2000), capture(SECOND, 500)];
        let posted = captures.iter().map(|one| rules::collected(one, slot(1000)));
        let ledger = if is_collected { posted.collect() } else { Vec::new() };
        Self { payments: captures.into_iter().map(|one| (one, Done)).collect(), ledger }
    }

    fn money(&self) -> Money<'_> {
        Money { payments: &self.payments, ledger: &self.ledger }
    }

    fn left(&self) -> i64 {
        self.money().left().minor()
    }

    /// Asks; returns the requests.
    fn ask(&mut self, minor: Option<i64>) -> Result<Vec<PaymentRequest>, Refusal> {
        let program = reservation(1, 1000, 1);
        let effects = rules::refund(&program, self.money(), minor.map(amount), "it froze", "4 key")?;
        assert_eq!(effects.reservation, next(&program, program.state));
        assert!(effects.ledger.is_empty() && effects.mails.is_empty(), "posted once it is done");
        for request in &effects.payments {
            assert!(self.payments.iter().all(|(known, _)| known.key != request.key), "{}", request.key);
            let is_right = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
            assert!(request.key.len() <= 200 && request.key.chars().all(is_right), "{}", request.key);
            assert_eq!((request.kind, request.reason.as_deref()), (PaymentKind::Refund, Some("it froze")));
            self.payments.push((request.clone(), Waiting));
        }
        Ok(effects.payments)
    }

    fn set(&mut self, key: &str, state: PaymentState) {
        self.payments.iter_mut().find(|(request, _)| request.key == key).unwrap().1 = state;
    }

    /// The provider's answer: done.
    fn answered(&mut self, refund: &PaymentRequest) -> Option<i64> {
        let entry = rules::given_back(refund, self.money(), slot(1001));
        self.set(&refund.key, Done);
        self.post(entry)
    }

    /// The provider tells that so much of the first capture was given back in all.
    fn told(&mut self, in_all: i64) -> Option<i64> {
        let taking = self.payments[0].0.clone();
        let entry = rules::refunded(&taking, amount(in_all), Account::Cash, &self.ledger, slot(1001));
        self.post(entry)
    }

    /// The provider tells that a refund of ours failed.
    fn told_failed(&mut self, refund: &PaymentRequest) {
        let entries = rules::came_back(refund, self.money(), slot(1002));
        self.set(&refund.key, Declined);
        self.post_all(entries);
    }

    /// The provider tells that a refund of its own books failed.
    fn told_failed_elsewhere(&mut self, minor: i64) {
        let taking = self.payments[0].0.clone();
        self.post_all(rules::came_back_elsewhere(&taking, amount(minor), self.money(), slot(1002)));
    }

    fn post(&mut self, entry: Option<LedgerTransaction>) -> Option<i64> {
        let entry = entry?;
        assert!(self.ledger.iter().all(|known| known.key != entry.key), "{} twice", entry.key);
        let accounts = match entry.kind {
            LedgerKind::Refunded => (Account::Revenue, entry.credit),
            _ => (Account::Cash, Account::Revenue),
        };
        assert_eq!((entry.debit, entry.credit), accounts, "{entry:?}");
        self.ledger.push(entry);
        self.ledger.last().map(|entry| entry.amount.minor())
    }

    fn post_all(&mut self, entries: Vec<LedgerTransaction>) {
        for entry in entries {
            self.post(Some(entry));
        }
    }

    fn sum(&self, kind: LedgerKind) -> i64 {
        self.ledger.iter().filter(|entry| entry.kind == kind).map(|entry| entry.amount.minor()).sum()
    }

    /// All that was ever given back.
    fn posted(&self) -> i64 {
        self.sum(LedgerKind::Refunded)
    }

    /// What did not come back of it.
    fn gone(&self) -> i64 {
        self.posted() - self.sum(LedgerKind::RefundFailed)
    }
}

fn split(requests: &[PaymentRequest]) -> Vec<(&str, i64)> {
    requests.iter().map(|request| (request.of.as_deref().unwrap(), request.amount.minor())).collect()
}

#[test]
fn what_is_given_back_comes_from_the_oldest_capture_first() {
    let ask = |minor| Books::taken(true).ask(minor);
    assert_eq!(split(&ask(Some(300)).unwrap()), [(FIRST, 300)]);
    assert_eq!(split(&ask(Some(2000)).unwrap()), [(FIRST, 2000)]);
    assert_eq!(split(&ask(Some(2001)).unwrap()), [(FIRST, 2000), (SECOND, 1)]);
    assert_eq!(split(&ask(None).unwrap()), [(FIRST, 2000), (SECOND, 500)]);
    assert_eq!(ask(Some(2501)), Err(Refusal::RefundTooLarge { left: amount(2500) }));
    assert!(matches!(ask(Some(0)), Err(Refusal::Invalid(fields)) if fields[0].field == "amount"));
}

#[test]
fn what_waits_or_was_given_back_is_not_given_back_again() {
    let mut books = Books::taken(true);
    let first = books.ask(Some(1500)).unwrap();
    assert_eq!(books.left(), 1000);
    assert_eq!(books.ask(Some(1001)), Err(Refusal::RefundTooLarge { left: amount(1000) }));
    assert_eq!(books.answered(&first[0]), Some(1500));
    assert_eq!(books.left(), 1000);
    let rest = books.ask(None).unwrap();
    assert_eq!(split(&rest), [(FIRST, 500), (SECOND, 500)]);
    let (collecting, refunding) = (amount(0), amount(1000));
    assert_eq!(books.ask(None), Err(Refusal::NothingToRefund { collecting, refunding }));
    // The provider declines one: it can be asked for again, under another key.
    books.set(&rest[0].key, Declined);
    assert_eq!(split(&books.ask(None).unwrap()), [(FIRST, 500)]);
}

#[test]
fn nothing_is_given_back_of_what_was_not_taken() {
    let (collecting, refunding) = (amount(2000), Amount::ZERO);
    for (state, collecting) in [(Waiting, collecting), (Declined, Amount::ZERO)] {
        let mut books = Books { payments: vec![(capture(FIRST, 2000), state)], ledger: Vec::new() };
        for minor in [None, Some(1)] {
            assert_eq!(books.ask(minor), Err(Refusal::NothingToRefund { collecting, refunding }));
        }
    }
    let let_go = payment("release-authorise-1-1", PaymentKind::Release, 1, 2000);
    let mut books = Books { payments: vec![(let_go, Done)], ledger: Vec::new() };
    assert!(matches!(books.ask(None), Err(Refusal::NothingToRefund { .. })));
    // Less came than was owed: not more can go back.
    let mut books = Books::taken(true);
    books.ledger[0].amount = amount(1200);
    assert_eq!(books.left(), 1700);
}

#[test]
fn what_was_collected_goes_from_the_cash_and_what_was_billed_from_the_bill() {
    for (is_collected, account) in [(true, Account::Cash), (false, Account::Receivable(MemberNumber(1)))] {
        let mut books = Books::taken(is_collected);
        let asked = books.ask(Some(700)).unwrap();
        assert_eq!(books.answered(&asked[0]), Some(700));
        assert_eq!(books.ledger.last().unwrap().credit, account);
        assert_eq!(books.left(), 1800);
    }
}

#[test]
fn our_answer_and_the_providers_word_post_a_refund_once_in_either_order() {
    let mut books = Books::taken(true);
    let asked = books.ask(Some(700)).unwrap();
    assert_eq!(books.answered(&asked[0]), Some(700));
    assert_eq!(books.told(700), None, "our answer first");

    let mut books = Books::taken(true);
    let asked = books.ask(Some(700)).unwrap();
    assert_eq!(books.told(700), Some(700));
    assert_eq!(books.answered(&asked[0]), None, "the provider's word first");

    let mut books = Books::taken(true);
    let (one, other) = (books.ask(Some(700)).unwrap(), books.ask(Some(200)).unwrap());
    assert_eq!(books.answered(&other[0]), Some(200));
    assert_eq!(books.told(900), Some(700));
    assert_eq!((books.told(200), books.answered(&one[0])), (None, None), "an old word says nothing new");
    assert_eq!(books.posted(), 900);
}

#[test]
fn what_is_given_back_in_the_providers_own_books_is_beside_ours() {
    let mut books = Books::taken(true);
    assert_eq!(books.told(300), Some(300));
    assert_eq!(books.left(), 2200);
    let asked = books.ask(Some(500)).unwrap();
    assert_eq!(books.answered(&asked[0]), Some(500), "at once and in full: that of others was known");
    assert_eq!((books.told(800), books.told(1000)), (None, Some(200)));
    // Another's comes while ours waits: never too much, and all of it once everything is told.
    let asked = books.ask(Some(400)).unwrap();
    assert_eq!(books.told(1100), Some(100));
    assert_eq!(books.answered(&asked[0]), Some(300));
    assert_eq!((books.told(1500), books.posted()), (Some(100), 1500));
}

#[test]
fn what_came_back_can_be_given_back_again() {
    let mut books = Books::taken(true);
    let asked = books.ask(Some(700)).unwrap();
    assert_eq!(books.answered(&asked[0]), Some(700));
    books.told_failed(&asked[0]);
    assert_eq!((books.gone(), books.left()), (0, 2500));
    let entries = books.ledger.len();
    books.told_failed(&asked[0]);
    assert_eq!(books.ledger.len(), entries, "told twice");
    let again = books.ask(Some(700)).unwrap();
    assert_ne!(again[0].key, asked[0].key);
    assert_eq!(books.answered(&again[0]), Some(700));
    // The amount in all may count the failed one or not.
    assert_eq!((books.told(700), books.told(1400)), (None, None));
    assert_eq!((books.gone(), books.left()), (700, 1800));
    books.told_failed(&again[0]);
    assert_eq!((books.gone(), books.left()), (0, 2500));
}

#[test]
fn a_failure_that_is_told_before_our_answer_leaves_nothing_behind() {
    for is_told_as_done in [false, true] {
        let mut books = Books::taken(true);
        let asked = books.ask(Some(700)).unwrap();
        if is_told_as_done {
            assert_eq!(books.told(700), Some(700));
        }
        books.told_failed(&asked[0]);
        assert_eq!((books.told(700), books.posted(), books.gone()), (None, 700, 0));
        assert_eq!(books.left(), 2500);
    }
}

#[test]
fn a_failure_in_the_providers_own_books_takes_back_its_own_amount() {
    for is_told_before in [true, false] {
        let mut books = Books::taken(true);
        if is_told_before {
            assert_eq!(books.told(300), Some(300));
        }
        books.told_failed_elsewhere(300);
        assert_eq!((books.told(300), books.posted(), books.gone(), books.left()), (None, 300, 0, 2500));
        let asked = books.ask(Some(500)).unwrap();
        assert_eq!(books.answered(&asked[0]), Some(500));
        assert_eq!((books.told(800), books.gone()), (None, 500));
        assert_eq!(books.told(1000), Some(200));
        books.told_failed_elsewhere(200);
        assert_eq!((books.gone(), books.left()), (500, 2000));
    }
}

#[test]
fn a_word_that_agrees_in_no_way_is_known_as_such() {
    let mut books = Books::taken(true);
    let agrees = |books: &Books, in_all| rules::agrees(&books.payments[0].0, amount(in_all), books.money());
    let asked = books.ask(Some(700)).unwrap();
    books.answered(&asked[0]);
    assert!(agrees(&books, 100), "an old word");
    books.told_failed(&asked[0]);
    assert!(agrees(&books, 700) && agrees(&books, 0));
    assert!(!agrees(&books, 300), "somebody gave back 300 there, if 700 is left out; nobody knows");
}

/// What may happen, in any order.
#[derive(Clone, Debug)]
enum Event {
    Ask(i64),
    /// The provider does what waits; its answer comes later or never.
    Do(usize),
    Answer(usize),
    Elsewhere(i64),
    /// The provider tells how it stood so many movements ago.
    Tell(usize),
    /// One of the refunds that the provider did fails; it tells so later or never.
    Fail(usize),
    TellFailed(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (1..900i64).prop_map(Event::Ask),
        4 => (0..6usize).prop_map(Event::Do),
        4 => (0..6usize).prop_map(Event::Answer),
        1 => (1..400i64).prop_map(Event::Elsewhere),
        4 => (0..3usize).prop_map(Event::Tell),
        2 => (0..6usize).prop_map(Event::Fail),
        3 => (0..3usize).prop_map(Event::TellFailed),
    ]
}

/// The provider's own books of one capture of 2000.
#[derive(Default)]
struct Provider {
    /// What was given back and has not failed: with the key of ours.
    done: Vec<(Option<String>, i64)>,
    /// What failed, and whether that was told.
    failed: Vec<(Option<String>, i64, bool)>,
    /// Given back in all, after each movement: as it was ever, and without what failed.
    totals: Vec<(i64, i64)>,
    /// Whether its word leaves out what failed.
    is_net: bool,
}

impl Provider {
    fn total(&self) -> (i64, i64) {
        self.totals.last().copied().unwrap_or((0, 0))
    }

    fn give(&mut self, key: Option<String>, minor: i64) -> bool {
        let (ever, there) = self.total();
        let is_left = there + minor <= 2000;
        if is_left {
            self.done.push((key, minor));
            self.totals.push((ever + minor, there + minor));
        }
        is_left
    }

    /// Whether it took this refund of ours on.
    fn took(&self, wanted: &str) -> bool {
        let known = self.done.iter().map(|(key, _)| key).chain(self.failed.iter().map(|(key, ..)| key));
        known.flatten().any(|key| key == wanted)
    }

    fn fail(&mut self, which: usize) {
        if which < self.done.len() {
            let (key, minor) = self.done.remove(which);
            let (ever, there) = self.total();
            self.totals.push((ever, there - minor));
            self.failed.push((key, minor, false));
        }
    }
}

fn waiting(books: &Books, which: usize) -> Option<PaymentRequest> {
    let mut waiting = books.payments.iter().filter(|(_, state)| *state == Waiting);
    waiting.nth(which).map(|(request, _)| request.clone())
}

fn happen(books: &mut Books, provider: &mut Provider, event: &Event) {
    match *event {
        Event::Ask(minor) => {
            let _too_much_is_refused = books.ask(Some(minor));
        }
        Event::Do(which) => {
            let Some(request) = waiting(books, which) else { return };
            if !provider.took(&request.key)
                && !provider.give(Some(request.key.clone()), request.amount.minor())
            {
                books.set(&request.key, Declined);
            }
        }
        Event::Answer(which) => {
            let found = waiting(books, which).filter(|request| provider.took(&request.key));
            if let Some(request) = found {
                // Asked again, the provider may answer that it failed.
                match provider.done.iter().any(|(key, _)| key.as_ref() == Some(&request.key)) {
                    true => drop(books.answered(&request)),
                    false => books.told_failed(&request),
                }
            }
        }
        Event::Elsewhere(minor) => {
            provider.give(None, minor);
        }
        Event::Tell(ago) => {
            let told = provider.totals.iter().rev().nth(ago).copied();
            told.and_then(|(ever, there)| books.told(if provider.is_net { there } else { ever }));
        }
        Event::Fail(which) => provider.fail(which),
        Event::TellFailed(which) => {
            let Some((key, minor, is_told)) = provider.failed.get_mut(which) else { return };
            if !std::mem::replace(is_told, true) {
                match key {
                    Some(key) => {
                        let ours = books.payments.iter().find(|(request, _)| request.key == *key);
                        let ours = ours.unwrap().0.clone();
                        books.told_failed(&ours);
                    }
                    None => books.told_failed_elsewhere(*minor),
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn the_ledger_never_says_too_much_and_in_the_end_all(
        events in prop::collection::vec(event(), 1..40),
        is_net: bool,
    ) {
        let mut books = Books::taken(true);
        books.payments.truncate(1);
        let mut provider = Provider { is_net, ..Provider::default() };
        for event in &events {
            happen(&mut books, &mut provider, event);
            prop_assert!(books.posted() <= provider.total().0, "{event:?}: {books:?}");
            let waits: i64 =
                books.payments.iter().filter(|(_, state)| *state == Waiting).map(|(it, _)| it.amount.minor()).sum();
            let left = books.left();
            prop_assert!(left == 0 || books.gone() + waits + left <= 2000, "{event:?}: {books:?}");
        }
        while waiting(&books, 0).is_some() {
            happen(&mut books, &mut provider, &Event::Do(0));
            happen(&mut books, &mut provider, &Event::Answer(0));
        }
        for which in 0..provider.failed.len() {
            happen(&mut books, &mut provider, &Event::TellFailed(which));
        }
        let ours: i64 =
            books.payments.iter().filter(|(it, state)| it.kind == PaymentKind::Refund && *state == Done).map(|(it, _)| it.amount.minor()).sum();
        let (ever, there) = provider.total();
        prop_assert!(books.gone() >= ours);
        prop_assert!(books.posted() <= ever && books.gone() <= there);
        happen(&mut books, &mut provider, &Event::Tell(0));
        // Where its word leaves out what failed, what was given back elsewhere may be missing.
        prop_assert!(books.gone() <= there);
        if !is_net || provider.failed.is_empty() {
            prop_assert_eq!(books.gone(), there);
            prop_assert_eq!(books.left(), 2000 - there);
        }
    }
}
