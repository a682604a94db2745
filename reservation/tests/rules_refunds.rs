//! The rules of giving back: how much of what, and a ledger that is right whoever tells of a refund first.

mod support;

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
use support::values::{next, payment, reservation, slot};

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
        let effects = rules::refund(&program, self.money(), minor.map(amount), "it froze")?;
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

    fn post(&mut self, entry: Option<LedgerTransaction>) -> Option<i64> {
        let entry = entry?;
        assert!(self.ledger.iter().all(|known| known.key != entry.key), "{} twice", entry.key);
        assert_eq!((entry.kind, entry.debit), (LedgerKind::Refunded, Account::Revenue));
        self.ledger.push(entry);
        self.ledger.last().map(|entry| entry.amount.minor())
    }

    fn posted(&self) -> i64 {
        let refunded = self.ledger.iter().filter(|entry| entry.kind == LedgerKind::Refunded);
        refunded.map(|entry| entry.amount.minor()).sum()
    }
}

fn split(requests: &[PaymentRequest]) -> Vec<(&str, i64)> {
    requests
        .iter()
        .map(|request| (rules::capture_key(&request.key).unwrap(), request.amount.minor()))
        .collect()
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
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (1..900i64).prop_map(Event::Ask),
        4 => (0..6usize).prop_map(Event::Do),
        4 => (0..6usize).prop_map(Event::Answer),
        1 => (1..400i64).prop_map(Event::Elsewhere),
        4 => (0..3usize).prop_map(Event::Tell),
    ]
}

/// The provider's own books of one capture of 2000.
#[derive(Default)]
struct Provider {
    done: Vec<String>,
    /// Given back in all, after each movement.
    totals: Vec<i64>,
}

impl Provider {
    fn total(&self) -> i64 {
        self.totals.last().copied().unwrap_or(0)
    }

    fn give(&mut self, minor: i64) -> bool {
        let total = self.total() + minor;
        if total <= 2000 {
            self.totals.push(total);
        }
        total <= 2000
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
            if !provider.done.contains(&request.key) {
                match provider.give(request.amount.minor()) {
                    true => provider.done.push(request.key),
                    false => books.set(&request.key, Declined),
                }
            }
        }
        Event::Answer(which) => {
            let found = waiting(books, which).filter(|request| provider.done.contains(&request.key));
            if let Some(request) = found {
                books.answered(&request);
            }
        }
        Event::Elsewhere(minor) => {
            provider.give(minor);
        }
        Event::Tell(ago) => {
            let told = provider.totals.iter().rev().nth(ago).copied();
            told.and_then(|in_all| books.told(in_all));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn the_ledger_never_says_too_much_and_in_the_end_all(events in prop::collection::vec(event(), 1..40)) {
        let mut books = Books::taken(true);
        books.payments.truncate(1);
        let mut provider = Provider::default();
        for event in &events {
            happen(&mut books, &mut provider, event);
            prop_assert!(books.posted() <= provider.total(), "{event:?}: {books:?}");
            let waits: i64 =
                books.payments.iter().filter(|(_, state)| *state == Waiting).map(|(it, _)| it.amount.minor()).sum();
            let left = books.left();
            prop_assert!(left == 0 || books.posted() + waits + left <= 2000, "{event:?}: {books:?}");
        }
        while waiting(&books, 0).is_some() {
            happen(&mut books, &mut provider, &Event::Do(0));
            happen(&mut books, &mut provider, &Event::Answer(0));
        }
        let ours: i64 =
            books.payments.iter().filter(|(it, state)| it.kind == PaymentKind::Refund && *state == Done).map(|(it, _)| it.amount.minor()).sum();
        prop_assert!(books.posted() >= ours);
        books.told(provider.total().max(0));
        prop_assert_eq!(books.posted(), provider.total());
        prop_assert_eq!(books.left(), 2000 - provider.total());
    }
}
