//! The demo's booking: a member's whole way through the reservation side, from registration to the charge.
//!
//! Owns: the steps, and what each of them found. Invariant: every step goes through the same service that the API asks.

use std::{
    error::Error,
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    time::{Duration, Instant},
};

use slotcast_core::{
    time::Clock,
    words::{ChannelNumber, OpenLevel, Window},
};
use slotcast_reservation::{
    domain::{
        effects::LedgerKind,
        reservation::{ProgramDetails, Reservation, Settlement, State},
        rules::Draft,
        words::ReservationNumber,
    },
    service::{Actor, Premium, Registration, Service},
    store::Page,
    vault::ReservationId,
};
use slotcast_settings::SettingsFile;

use crate::{
    demo::{DemoArgs, random_hex},
    serve::Server,
};

/// How long the mail with the reservation ID may take.
const MAIL_MAX: Duration = Duration::from_secs(10);
/// Between booking and start, at least: the broadcaster connects meanwhile.
const LEAD: Duration = Duration::from_secs(1);
/// How long the charge may take after the end.
const CHARGE_MAX: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(50);
const USER: &str = "demo";
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

type Step<T> = Result<T, Box<dyn Error>>;

/// A reservation that stands, and what its broadcaster was given.
pub(super) struct Sale {
    actor: Actor,
    number: ReservationNumber,
    /// What the broadcaster's program imports.
    pub(super) settings: SettingsFile,
    steps: Vec<(&'static str, String)>,
    currency: String,
}

/// What became of the money.
pub(super) struct Settled {
    /// Whether it was charged.
    pub(super) is_charged: bool,
    /// The ledger's words for it.
    pub(super) found: String,
    /// Most viewers at once, as the program's history has it.
    pub(super) viewers_peak: u32,
}

impl Sale {
    /// Registers, books a window that starts with the first slot after [`LEAD`], accepts the terms, reads the mail, reconfirms and
    /// fetches the settings file.
    ///
    /// - `mail`: the folder into which the server writes its mails.
    pub(super) fn make(server: &Server, mail: &Path, args: &DemoArgs, clock: &Clock) -> Step<Self> {
        let service = server.service().ok_or("the demo's server sells nothing")?.clone();
        server.wait_for(Self::buy(service, mail, args, clock))
    }

    async fn buy(service: Service, mail: &Path, args: &DemoArgs, clock: &Clock) -> Step<Self> {
        let mut steps = Vec::new();
        let actor = register(&service).await?;
        steps.push(("registered", format!("premium member {USER}, billed by invoice")));
        let rules = service.rules();
        let start = rules.slot_of(clock().wall.saturating_add(LEAD)).saturating_add(rules.slot);
        let window = Window::new(start, start.saturating_add(Duration::from_secs(args.seconds)))?;
        let draft = Draft { channel: ChannelNumber(args.channel), window, program: program() };
        let booked = service.book(&actor, draft, None, CLIENT).await?;
        let number = booked.number;
        let slots = rules.slots(window).map_err(|refusal| format!("{refusal:?}"))?.len();
        let total = service.total(&booked).minor();
        let currency = rules.currency.to_string();
        steps.push((
            "booked",
            format!("{slots} slots of {} s at {} {currency}", rules.slot.as_secs(), booked.toll.0),
        ));
        service.accept_terms(&actor, number).await?;
        let id = mailed_id(mail).await?;
        steps.push(("terms accepted", "the reservation ID came by mail".to_owned()));
        service.reconfirm(&actor, number, id.expose(), None).await?;
        steps.push(("reconfirmed", format!("{total} {currency} authorised")));
        let settings = service.settings_plain(&actor, number, id.expose()).await?;
        let ports = settings.ingest.access.len();
        steps.push((
            "settings file",
            format!("{ports} access port, {} ready-made lines", settings.commands.broadcast.len()),
        ));
        Ok(Self { actor, number, settings, steps, currency })
    }

    /// The number of its program.
    pub(super) const fn number(&self) -> ReservationNumber {
        self.number
    }

    /// What was done so far, one line each.
    pub(super) fn steps(&self) -> impl Iterator<Item = String> {
        self.steps.iter().map(|(what, found)| format!("{what}: {found}"))
    }

    /// Waits for the decision about the money, after the end.
    pub(super) fn settled(&self, server: &Server) -> Step<Settled> {
        let service = server.service().ok_or("the demo's server sells nothing")?.clone();
        server.wait_for(self.settle(service))
    }

    async fn settle(&self, service: Service) -> Step<Settled> {
        let deadline = Instant::now() + CHARGE_MAX;
        let reservation = loop {
            let reservation = service.reservation(&self.actor, self.number).await?;
            if is_decided(&reservation) {
                break reservation;
            }
            if Instant::now() >= deadline {
                return Err(format!("the charge was not decided in {} s", CHARGE_MAX.as_secs()).into());
            }
            tokio::time::sleep(LOOK).await;
        };
        let history = service.history(&self.actor, self.number, Page { offset: 0, limit: 1 }).await?;
        let charged = |kind| history.ledger.iter().filter(move |entry| entry.kind == kind);
        let sum: i64 = charged(LedgerKind::Charged).map(|entry| entry.amount.minor()).sum();
        let is_charged = reservation.state == State::Finished(Settlement::Charged);
        Ok(Settled {
            is_charged: is_charged && sum > 0,
            found: format!("{sum} {} in the ledger after {} entries", self.currency, history.ledger.len()),
            viewers_peak: history.run.viewers_peak,
        })
    }
}

const fn is_decided(reservation: &Reservation) -> bool {
    matches!(
        reservation.state,
        State::Finished(Settlement::Charged | Settlement::Waived) | State::Cancelled(_)
    )
}

async fn register(service: &Service) -> Step<Actor> {
    let password = random_hex()?;
    let registration = Registration {
        user_id: USER.to_owned(),
        name: "Demo".to_owned(),
        reading: "Demo".to_owned(),
        email: "demo@localhost".to_owned(),
        password: password.clone(),
        premium: Some(Premium {
            address: "1 Demo Street".to_owned(),
            phone: "+81 3 0000 0000".to_owned(),
            ..Premium::default()
        }),
        ..Registration::default()
    };
    service.register(registration, CLIENT).await?;
    let session = service.log_in(USER, &password, CLIENT).await?;
    Ok(service.actor_of_session(&session.token).await?)
}

fn program() -> ProgramDetails {
    ProgramDetails {
        title: "slotcast demo".to_owned(),
        genre: "test picture".to_owned(),
        outline: "A bundled clip".to_owned(),
        details: String::new(),
        open_level: OpenLevel::Public,
        password: None,
        show_email: false,
        show_web: false,
        friends: Vec::new(),
    }
}

/// The reservation ID, from the mail that brought it.
async fn mailed_id(mail: &Path) -> Step<ReservationId> {
    let deadline = Instant::now() + MAIL_MAX;
    loop {
        if let Some(id) = read_id(mail) {
            return Ok(id);
        }
        if Instant::now() >= deadline {
            return Err(format!("no mail with a reservation ID in {}", mail.display()).into());
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn read_id(mail: &Path) -> Option<ReservationId> {
    let files = fs::read_dir(mail).ok()?.filter_map(Result::ok);
    let letters = files.filter(|file| file.file_name().to_string_lossy().starts_with("reservation-id-"));
    let text = letters.filter_map(|file| fs::read_to_string(file.path()).ok()).next()?;
    let looks_right = |word: &&str| word.len() == 30 && word.matches('-').count() == 4;
    text.split_whitespace().filter(looks_right).find_map(ReservationId::from_typed)
}

/// How long the demo's slots are: short, and so that the window is a whole number of them. A short demo has the shortest,
/// since it waits for the next one.
pub(super) fn slot(seconds: u64) -> Duration {
    if seconds < 10 {
        return Duration::from_secs(1);
    }
    let length = (1..=5).rev().find(|length| seconds.is_multiple_of(*length)).unwrap_or(1);
    Duration::from_secs(length)
}

/// What a slot of `slot` costs where ten minutes cost `toll`; never nothing.
pub(super) fn toll(toll: u64, slot: Duration) -> u64 {
    toll.saturating_mul(slot.as_secs()).div_ceil(600).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_whole_slots_and_the_toll_is_in_proportion() {
        for (seconds, length) in [(600, 5), (20, 5), (12, 4), (11, 1), (5, 1), (3, 1)] {
            assert_eq!(slot(seconds).as_secs(), length, "{seconds}");
        }
        assert_eq!(toll(10_000, Duration::from_secs(600)), 10_000);
        assert_eq!(toll(10_000, Duration::from_secs(5)), 84);
        assert_eq!(toll(0, Duration::from_secs(5)), 1);
    }
}
