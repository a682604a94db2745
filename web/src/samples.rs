//! Made-up content for the page of parts and for tests: programs in every state, pages of every template.
//!
//! Invariant: what the templates show is made as a running server makes it, of listings.

use askama::Template;
use jiff::civil::Date;
use slotcast_core::{
    time::WallTime,
    words::{ChannelNumber, OpenLevel, Seats, Window},
};
use slotcast_reservation::{
    domain::{
        refusal::{FieldProblem, Refusal, Thing},
        reservation::{ProgramKind, Settlement, State},
        words::ReservationNumber,
    },
    service::{self, Listing},
};

use crate::{
    account::{LogInPage, PasswordPage, RegisterPage, RegisteredPage, Stage, VerifyPage},
    art,
    form::Form,
    markup::typed,
    my::{MyPage, Own, OwnPage},
    page::{Frame, Part},
    program::Shown,
    public::{
        AboutPage, Cell, DayPage, Line, MonthPage, PickupPage, ProgramPage, Row, TermsPage, TodayPage,
        TopPage, paragraphs,
    },
    trouble::{Trouble, TroublePage},
    visit::Visit,
};

/// What people typed.
#[derive(Clone)]
pub(crate) struct Typed {
    pub(crate) titles: [String; 5],
    pub(crate) broadcaster: String,
    pub(crate) genre: String,
    pub(crate) outline: String,
    pub(crate) details: String,
    pub(crate) email: String,
    pub(crate) web: String,
    pub(crate) note: String,
}

impl Typed {
    /// As friendly members type.
    pub(crate) fn usual() -> Self {
        let own = str::to_owned;
        Self {
            titles: [
                own("Evening concert"),
                own("祖母のお茶会"),
                own("Regional chess final: Kobe against Sendai, last round"),
                own("朝のラジオ体操"),
                own("Harbour at night"),
            ],
            broadcaster: own("Hanako Yamada"),
            genre: own("music"),
            outline: own("Haydn and Ravel"),
            details: own("A string quartet plays from a living room in Kyoto.\nAfterwards, tea."),
            email: own("hanako@example.com"),
            web: own("https://example.com/hanako"),
            note: own("The quartet that everybody talks about."),
        }
    }

    /// The same text everywhere.
    #[cfg(test)]
    pub(crate) fn all(text: &str) -> Self {
        let own = || text.to_owned();
        Self {
            titles: [own(), own(), own(), own(), own()],
            broadcaster: own(),
            genre: own(),
            outline: own(),
            details: own(),
            email: "a@example.com".to_owned(),
            web: format!("https://example.com/{text}"),
            note: own(),
        }
    }
}

fn minutes(at: WallTime, minutes: i64) -> WallTime {
    WallTime::from_micros(at.as_micros() + minutes * 60_000_000)
}

/// Number, start and length in minutes, state, viewers, seats, who may watch.
type Kind = (i64, i64, i64, State, u32, u32, OpenLevel);

/// One program for each way in which a program can be shown: open, full, waiting, to come, over.
pub(crate) fn listings(typed: &Typed, now: WallTime) -> Vec<Listing> {
    let slot = minutes(WallTime::from_micros(now.as_micros() / 600_000_000 * 600_000_000), 0);
    let kinds = [
        (1_204_998_123_450_071, -20, 60, State::OnAir, 38, 50, OpenLevel::Public),
        (7_731_004_411_020_006, -50, 60, State::OnAir, 5, 5, OpenLevel::Password),
        (4_410_925_558_817_303, 0, 30, State::Confirmed, 0, 100, OpenLevel::Public),
        (9_001_337_420_118_424, 70, 90, State::Registered, 0, 1000, OpenLevel::Public),
        (2_718_281_828_459_045, -190, 60, State::Finished(Settlement::Charged), 0, 15, OpenLevel::Public),
    ];
    let listing = |(at, kind): (usize, Kind)| {
        let (number, start, length, state, viewers, seats, open_level) = kind;
        let is_on_air = state == State::OnAir;
        Some(Listing {
            number: ReservationNumber(number),
            kind: if at == 2 { ProgramKind::Special } else { ProgramKind::Private },
            state,
            channel: ChannelNumber(u16::try_from(at).ok()? % 3 + 1),
            channel_name: format!("channel{}", at % 3 + 1).parse().ok()?,
            window: Window::new(minutes(slot, start), minutes(slot, start + length)).ok()?,
            title: typed.titles.get(at)?.clone(),
            genre: typed.genre.clone(),
            outline: typed.outline.clone(),
            details: typed.details.clone(),
            open_level,
            is_for_members: at == 3,
            broadcaster: typed.broadcaster.clone(),
            email: typed.email.parse().ok(),
            web: Some(typed.web.clone()),
            door: if is_on_air && viewers < seats { service::Door::Open } else { service::Door::Close },
            is_on_air,
            seats: Seats::new(seats).ok()?,
            viewers,
            is_on_demand: false,
            watch_url: "rtsp://live.example.com/channel4".to_owned(),
            version: 1,
        })
    };
    kinds.into_iter().enumerate().filter_map(listing).collect()
}

/// A form as it comes back with much that is wrong.
pub(crate) fn wrong_form(text: &str) -> Form {
    let names = [
        "name",
        "reading",
        "email",
        "web",
        "user_id",
        "premium.address",
        "premium.phone",
        "code",
        "who",
        "next",
    ];
    let fields: Vec<_> = names.iter().map(|name| (*name, text)).collect();
    let problem = |name| FieldProblem::new(name, "1 to 100 characters on one line", "1行、1〜100文字");
    Form::with(&fields, ["name", "email", "user_id", "password", "code", "premium.phone"].map(problem).into())
}

/// Every template with made-up content, and its name.
pub(crate) fn pages(visit: &Visit, typed_in: &Typed) -> Vec<(&'static str, askama::Result<String>)> {
    let mut pages = public_pages(visit, typed_in);
    pages.extend(account_pages(visit, typed_in));
    pages.extend(own_pages(visit, typed_in));
    pages
}

fn public_pages(visit: &Visit, typed_in: &Typed) -> Vec<(&'static str, askama::Result<String>)> {
    let frame = || Frame::new(visit, Part::Other);
    let (f, now) = (frame(), visit.now());
    let all: Vec<_> = listings(typed_in, now).iter().map(|listing| Shown::of(listing, &f)).collect();
    let picked: Vec<_> = all.iter().map(|shown| (typed(&typed_in.note), shown.clone())).collect();
    let date = f.written.date_at(now);
    let cell = |programs: Vec<Shown>| Cell { date, label: f.written.day(date), is_today: true, programs };
    let mut rendered = vec![
        (
            "top",
            TopPage {
                f: frame(),
                on_air: all.clone(),
                on_air_count: 12,
                next: all.clone(),
                pickups: picked.clone(),
            }
            .render(),
        ),
        (
            "today",
            TodayPage {
                f: frame(),
                day: f.written.day(date),
                genres: vec![typed(&typed_in.genre)],
                genre: typed(&typed_in.genre),
                text: typed(&typed_in.note),
                special: all.clone(),
                private: all.clone(),
                all: 10,
            }
            .render(),
        ),
        ("pickup", PickupPage { f: frame(), pickups: picked }.render()),
        (
            "guide_month",
            MonthPage {
                f: frame(),
                title: f.written.month(date),
                weekdays: vec!["Mon"],
                weeks: vec![vec![Some(cell(all.clone())), Some(cell(Vec::new())), None]],
                month: "2026-11".to_owned(),
                before: Some("2026-10".to_owned()),
                after: None,
                count: 5,
            }
            .render(),
        ),
        ("guide_day", day_page(frame(), date, &all).render()),
        (
            "about",
            AboutPage {
                f: frame(),
                lines: vec![Line {
                    number: 4,
                    seats: 1000,
                    rate: "64 kbit/s".to_owned(),
                    toll: f.written.money(10_000),
                    hour: Some(f.written.money(60_000)),
                }],
                slot_minutes: 10,
                reconfirm_hours: 6,
                connect_minutes: 5,
                is_billing: true,
            }
            .render(),
        ),
        ("terms", TermsPage { f: frame(), paragraphs: paragraphs(&typed_in.details) }.render()),
    ];
    rendered.extend(all.iter().map(|shown| {
        let page = ProgramPage { f: frame(), p: shown.clone(), qr: art::qr(&shown.watch_url) };
        ("program", page.render())
    }));
    rendered
}

fn day_page(f: Frame, date: Date, all: &[Shown]) -> DayPage {
    let pieces = all.iter().map(|shown| (6, Some(shown.clone()))).chain([(6, None)]).collect();
    DayPage {
        title: f.written.day(date),
        date,
        month: "2026-11".to_owned(),
        month_title: f.written.month(date),
        before: None,
        after: date.tomorrow().ok(),
        programs: all.to_vec(),
        hours: (15..21).map(|hour| format!("{hour}:00")).collect(),
        rows: vec![Row { channel: 4, pieces, programs: all.to_vec() }],
        page: 2,
        pages: 3,
        f,
    }
}

fn account_pages(visit: &Visit, typed_in: &Typed) -> Vec<(&'static str, askama::Result<String>)> {
    let frame = || Frame::new(visit, Part::Register);
    let form = || wrong_form(&typed_in.note);
    let refusal = Refusal::NotFound(Thing::Program);
    let trouble =
        || Trouble::of(&Refusal::PaymentDeclined { reason: typed_in.note.clone() }, visit.language());
    let mut rendered = vec![
        ("trouble", TroublePage { f: frame(), trouble: Trouble::of(&refusal, visit.language()) }.render()),
        ("trouble", TroublePage { f: frame(), trouble: trouble() }.render()),
        ("login", LogInPage { f: frame(), form: form(), trouble: Some(trouble()), is_sent: false }.render()),
        ("login", LogInPage { f: frame(), form: form(), trouble: None, is_sent: true }.render()),
        (
            "registered",
            RegisteredPage {
                f: frame(),
                user_id: "hanako".to_owned(),
                email: typed(&typed_in.email),
                is_code_sent: true,
            }
            .render(),
        ),
    ];
    for is_premium in [false, true] {
        let page = RegisterPage {
            f: frame(),
            form: form(),
            is_premium,
            is_billing: is_premium,
            trouble: Some(trouble()),
        };
        rendered.push(("register", page.render()));
    }
    for stage in [Stage::Ask, Stage::Code, Stage::Done] {
        let page = PasswordPage { f: frame(), form: form(), stage, is_sent: true, trouble: Some(trouble()) };
        rendered.push(("password", page.render()));
        let page = VerifyPage { f: frame(), form: form(), stage, is_sent: true, trouble: Some(trouble()) };
        rendered.push(("verify", page.render()));
    }
    rendered
}

/// Reservations in every state that has a page of its own.
fn own_pages(visit: &Visit, typed_in: &Typed) -> Vec<(&'static str, askama::Result<String>)> {
    let frame = || Frame::new(visit, Part::Mine);
    let (f, now) = (frame(), visit.now());
    let states = [
        State::Held,
        State::Registered,
        State::Confirmed,
        State::OnAir,
        State::Finished(Settlement::Charged),
    ];
    let listings = listings(typed_in, now);
    let own = |(listing, state): (&Listing, State)| Own {
        number: listing.number.0,
        title: typed(&listing.title),
        channel: listing.channel.0,
        seats: listing.seats.count(),
        when: f.written.window(listing.window),
        state,
        total: f.written.money(30_000),
        until: matches!(state, State::Held | State::Registered).then(|| f.written.moment(minutes(now, 90))),
        viewers_most: matches!(state, State::Finished(_)).then_some(44),
    };
    let all: Vec<_> = listings.iter().zip(states).map(own).collect();
    let (open, past) = all.split_at(4);
    let mut rendered = vec![(
        "my",
        MyPage {
            f: frame(),
            open: open.to_vec(),
            past: past.to_vec(),
            cancelled: Vec::new(),
            slots_used: 12,
            slots_max: 432,
        }
        .render(),
    )];
    for r in all {
        for asks in [false, r.may_be_cancelled()] {
            let trouble = Trouble::of(&Refusal::WrongReservationId, visit.language());
            let form = Form::with(&[("reservation_id", typed_in.note.as_str())], Vec::new());
            let page = OwnPage { f: frame(), r: r.clone(), form, trouble: Some(trouble), asks };
            rendered.push(("my_one", page.render()));
        }
    }
    rendered
}
