//! `[reservations]`, `[mail]` and `[payments]`: how the channels are sold.
//!
//! Not here: the defaults (`default.toml`), what the settings do.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use jiff::tz::TimeZone;
use slotcast_admission::Secret;
use slotcast_reservation::domain::words::Email;
use slotcast_settings::file::{ACCESS_MAX, FRIENDS_MAX, Host, NAME_CHARS_MAX};

use super::{
    document::{Reader, Section},
    values::{self, Raw, Reading},
};

/// `[reservations]`, with `[mail]` and `[payments]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Reservations {
    /// Holds the key, the embedded database and, where no server is named, the mails.
    pub data: PathBuf,
    /// `None`: SQLite in the data directory; else a URL, which may hold a password.
    pub database: Option<Secret>,
    /// How the provider calls itself in mails.
    pub provider: String,
    /// Where browsers and programs find the API.
    pub public_url: String,
    /// The host in viewers' addresses.
    pub viewers_host: String,
    /// Where broadcasters connect; empty: at `viewers_host`, on the ports of `links.listen`.
    pub access_ports: Vec<AccessPort>,
    /// Months and days are its.
    pub zone: TimeZone,
    /// Slots of one member in one month.
    pub slots_per_month: u32,
    /// Slots of one reservation.
    pub slots_per_reservation: u32,
    /// How far ahead may be booked.
    pub ahead: Duration,
    /// The terms must be accepted within this.
    pub hold: Duration,
    /// Reconfirmation is due so long before the start.
    pub reconfirm_before: Duration,
    /// But never sooner than this after the terms were accepted.
    pub reconfirm_grace: Duration,
    /// The reminder goes out so long before it is due.
    pub remind_before: Duration,
    /// Extensions are offered from so long before the end.
    pub extend_from: Duration,
    /// Whether `public` means any member.
    pub members_only: bool,
    /// Whether programs are listed before they are reconfirmed.
    pub list_unconfirmed: bool,
    /// Whether members show that mail to their address arrives before they reserve; `None`: where a mail server is named.
    pub verify_email: Option<bool>,
    /// Friends of one program.
    pub friends: usize,
    /// Of the window, in per cent, during which the server must have run normally to be paid.
    pub normal_share: u32,
    /// The terms that a member accepts; `None`: the built-in ones.
    pub terms_file: Option<PathBuf>,
    /// Whose word about the client's address is taken.
    pub trusted_proxies: Vec<IpNet>,
    /// Where mail goes.
    pub mail: Mail,
    /// How money is taken.
    pub payments: Payments,
    /// For how long is kept what need not stay.
    pub retention: Retention,
    /// `[webhooks] allow`: networks that webhooks reach though they are not public, and over plain HTTP.
    pub webhook_networks: Vec<IpNet>,
}

impl Reservations {
    /// Whether members show that mail to their address arrives before they reserve.
    pub fn verifies_email(&self) -> bool {
        self.verify_email.unwrap_or_else(|| self.mail.server.is_some())
    }
}

/// One place where broadcasters connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessPort {
    /// E.g. the carrier.
    pub name: String,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// `[mail]`
#[derive(Clone, Debug, PartialEq)]
pub struct Mail {
    /// Whose mails they are.
    pub from: Email,
    /// `None`: into the folder `mail` of the data directory; else `smtp://` or `smtps://`.
    pub server: Option<String>,
    /// For the server.
    pub user: Option<String>,
    /// For the server.
    pub password: Option<Secret>,
}

/// `[retention]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Mails that are over.
    pub mails: Duration,
    /// Numbers of viewers.
    pub samples: Duration,
    /// Slots that were taken.
    pub slots: Duration,
    /// What has expired.
    pub expired: Duration,
}

/// `[payments]`
#[derive(Clone, Debug, PartialEq)]
pub enum Payments {
    /// The operator bills from the ledger's export.
    Invoice,
    /// Cards, over Stripe.
    Stripe {
        /// `sk_…`
        key: Secret,
        /// `whsec_…`
        webhook: Secret,
        /// The API's address.
        url: String,
    },
}

/// Reads the three tables. `None`: off, or something is wrong, and then it is reported.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Option<Reservations>> {
    let mail = mail(reader.section("mail"));
    let payments = payments(reader.section("payments"));
    let retention = retention(reader.section("retention"));
    let webhook_networks = webhooks(reader.section("webhooks"));
    let (enabled, reservations) = reservations(reader.section("reservations"));
    match (enabled?, reservations) {
        (false, _) => Some(None),
        (true, Some(draft)) => Some(Some(draft(mail?, payments?, retention?, webhook_networks?))),
        (true, None) => None,
    }
}

type Finish = Box<dyn FnOnce(Mail, Payments, Retention, Vec<IpNet>) -> Reservations>;

fn reservations(mut table: Section<'_, '_>) -> (Option<bool>, Option<Finish>) {
    let enabled = table.required("enabled", values::yes_or_no);
    let data = table.path("data");
    let database = table.secret("database", "database_file");
    let provider = table.required("provider", line);
    let public_url = table.required("public_url", web_address);
    let viewers_host = table.required("viewers_host", host);
    let access_ports = table.required("access_ports", access_ports);
    let zone = table.required("zone", zone);
    let slots_per_month = table.required("slots_per_month", whole);
    let slots_per_reservation = table.required("slots_per_reservation", whole);
    let ahead = table.required("ahead", values::span);
    let hold = table.required("hold", values::span);
    let reconfirm_before = table.required("reconfirm_before", values::duration);
    let reconfirm_grace = table.required("reconfirm_grace", values::span);
    let remind_before = table.required("remind_before", values::duration);
    let extend_from = table.required("extend_from", values::duration);
    let members_only = table.required("members_only", values::yes_or_no);
    let list_unconfirmed = table.required("list_unconfirmed", values::yes_or_no);
    let verify_email = table.optional("verify_email", values::yes_or_no);
    let friends = table.required("friends", friends);
    let normal_share = table.required("normal_share", per_cent);
    let terms_file = table.path("terms_file");
    let trusted_proxies = table.required("trusted_proxies", networks);
    table.finish();
    let draft = || -> Option<Finish> {
        let (data, provider, public_url, viewers_host) = (data?, provider?, public_url?, viewers_host?);
        let (access_ports, zone, slots_per_month) = (access_ports?, zone?, slots_per_month?);
        let (slots_per_reservation, ahead, hold) = (slots_per_reservation?, ahead?, hold?);
        let (reconfirm_before, reconfirm_grace) = (reconfirm_before?, reconfirm_grace?);
        let (remind_before, extend_from, members_only) = (remind_before?, extend_from?, members_only?);
        let (list_unconfirmed, friends, normal_share) = (list_unconfirmed?, friends?, normal_share?);
        let trusted_proxies = trusted_proxies?;
        Some(Box::new(move |mail, payments, retention, webhook_networks| Reservations {
            data,
            database: database.map(Secret::new),
            provider,
            public_url,
            viewers_host,
            access_ports,
            zone,
            slots_per_month,
            slots_per_reservation,
            ahead,
            hold,
            reconfirm_before,
            reconfirm_grace,
            remind_before,
            extend_from,
            members_only,
            list_unconfirmed,
            verify_email,
            friends,
            normal_share,
            terms_file,
            trusted_proxies,
            mail,
            payments,
            retention,
            webhook_networks,
        }))
    };
    (enabled, draft())
}

fn mail(mut table: Section<'_, '_>) -> Option<Mail> {
    let from = table.required("from", email);
    let server = table.required("server", mail_server);
    let user = table.optional("user", values::text);
    let password = table.secret("password", "password_file");
    table.finish();
    Some(Mail { from: from?, server: server?, user, password: password.map(Secret::new) })
}

fn retention(mut table: Section<'_, '_>) -> Option<Retention> {
    let mails = table.required("mails", values::span);
    let samples = table.required("samples", values::span);
    let slots = table.required("slots", a_month);
    let expired = table.required("expired", values::span);
    table.finish();
    Some(Retention { mails: mails?, samples: samples?, slots: slots?, expired: expired? })
}

/// A member's slots of a month are counted until it is over.
fn a_month(raw: Raw<'_>) -> Reading<Duration> {
    match values::duration(raw)? {
        time if time >= Duration::from_secs(32 * 86_400) => Ok(time),
        _ => Err(raw.expected("at least \"32d\"")),
    }
}

fn webhooks(mut table: Section<'_, '_>) -> Option<Vec<IpNet>> {
    let allow = table.required("allow", networks);
    table.finish();
    allow
}

fn payments(mut table: Section<'_, '_>) -> Option<Payments> {
    let way = table.required("way", values::text);
    let key = table.secret("stripe_key", "stripe_key_file");
    let webhook = table.secret("stripe_webhook_secret", "stripe_webhook_secret_file");
    let url = table.required("stripe_url", web_address);
    let payments = match (way.as_deref(), key, webhook) {
        (Some("invoice"), _, _) => Some(Payments::Invoice),
        (Some("stripe"), Some(key), Some(webhook)) => {
            url.map(|url| Payments::Stripe { key: Secret::new(key), webhook: Secret::new(webhook), url })
        }
        (Some("stripe"), _, _) => {
            table.report(
                "way = \"stripe\" needs stripe_key and stripe_webhook_secret: add both, or their _file",
            );
            None
        }
        (Some(_), _, _) => {
            table.report("way: expected \"invoice\" or \"stripe\"");
            None
        }
        (None, _, _) => None,
    };
    table.finish();
    payments
}

fn line(raw: Raw<'_>) -> Reading<String> {
    let text = values::text(raw)?;
    if is_name(&text) { Ok(text) } else { Err(raw.expected("1 to 100 characters on one line")) }
}

fn web_address(raw: Raw<'_>) -> Reading<String> {
    let text = values::text(raw)?;
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let right = rest.is_some_and(|rest| {
        !rest.is_empty()
            && !rest.starts_with('/')
            && rest
                .bytes()
                .all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'@' | b'"' | b'<' | b'>'))
    });
    let text = text.trim_end_matches('/').to_owned();
    if right { Ok(text) } else { Err(raw.expected("an address like \"https://tv.example.com\"")) }
}

/// Whether settings files and addresses can hold it; an IPv6 address in brackets, as it stands in addresses.
pub(super) fn is_host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !text.contains(':') && text.parse::<Host>().is_ok(),
    }
}

fn host(raw: Raw<'_>) -> Reading<String> {
    let text = values::text(raw)?;
    if is_host(&text) {
        Ok(text)
    } else {
        Err(raw.expected("a host like \"tv.example.com\" or \"[2001:db8::1]\""))
    }
}

/// `NAME=HOST:PORT`, as many as a settings file holds, each name once.
fn access_ports(raw: Raw<'_>) -> Reading<Vec<AccessPort>> {
    let what = "a list like [\"east=east.example.com:8555\"]";
    let items = raw.items().ok_or_else(|| raw.expected(what))?;
    if items.len() > ACCESS_MAX {
        return Err(format!("expected at most {ACCESS_MAX} access ports, got {}", items.len()));
    }
    let ports = items.into_iter().map(access_port).collect::<Reading<Vec<_>>>()?;
    let twice = ports.iter().enumerate().find(|(at, port)| ports[..*at].iter().any(|p| p.name == port.name));
    match twice {
        Some((_, port)) => Err(format!("expected each name once, got {:?} twice", port.name)),
        None => Ok(ports),
    }
}

fn access_port(raw: Raw<'_>) -> Reading<AccessPort> {
    let text = values::text(raw)?;
    let port = text.split_once('=').and_then(|(name, rest)| {
        let (host, port) = rest.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        (is_name(name) && is_host(host)).then(|| AccessPort {
            name: name.to_owned(),
            host: host.to_owned(),
            port,
        })
    });
    let what = format!(
        "an access port like \"east=east.example.com:8555\", its name at most {NAME_CHARS_MAX} characters"
    );
    port.ok_or_else(|| raw.expected(&what))
}

fn is_name(text: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

fn friends(raw: Raw<'_>) -> Reading<usize> {
    let count = usize::try_from(values::number(raw)?).ok().filter(|count| *count <= FRIENDS_MAX);
    count.ok_or_else(|| raw.expected(&format!("0 to {FRIENDS_MAX} addresses")))
}

/// Addresses and networks; an address is a network of one.
fn networks(raw: Raw<'_>) -> Reading<Vec<IpNet>> {
    let wanted = "a list of addresses or networks like [\"127.0.0.1\", \"10.0.0.0/8\"]";
    let items = raw.items().ok_or_else(|| raw.expected(wanted))?;
    let read = |raw: Raw<'_>| {
        let one = |text: &str| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok();
        let network = raw.as_text().and_then(one);
        network.ok_or_else(|| raw.expected("an address like \"127.0.0.1\", or a network like \"10.0.0.0/8\""))
    };
    items.into_iter().map(read).collect()
}

fn zone(raw: Raw<'_>) -> Reading<TimeZone> {
    TimeZone::get(&values::text(raw)?).map_err(|_| raw.expected("a time zone like \"Asia/Tokyo\" or \"UTC\""))
}

fn whole(raw: Raw<'_>) -> Reading<u32> {
    u32::try_from(values::count(raw)?).map_err(|_| raw.expected("a whole number from 1"))
}

fn per_cent(raw: Raw<'_>) -> Reading<u32> {
    match values::number(raw)? {
        share @ 1..=100 => Ok(share as u32),
        _ => Err(raw.expected("1 to 100 per cent, without a sign")),
    }
}

fn email(raw: Raw<'_>) -> Reading<Email> {
    values::text(raw)?.parse().map_err(|_| raw.expected("an e-mail address like \"tv@example.com\""))
}

fn mail_server(raw: Raw<'_>) -> Reading<Option<String>> {
    let text = values::text(raw)?;
    match text.as_str() {
        "folder" => Ok(None),
        _ if text.starts_with("smtp://") || text.starts_with("smtps://") => Ok(Some(text)),
        _ => Err(raw.expected("\"folder\", or a server like \"smtp://mail.example.com:587\"")),
    }
}
