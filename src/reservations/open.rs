//! Opening the reservation side: data directory, key, database, mail, money, and what the configuration says of them.

use std::{
    collections::BTreeMap,
    error::Error,
    fs::{self, DirBuilder, File},
    num::NonZeroU16,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use slotcast_core::{time::Clock, words::ConnectMargins};
use slotcast_reservation::{
    courier::HttpCourier,
    domain::{
        rules::Rules,
        words::{Language, ReservationNumber},
    },
    edge::{Edge, EdgeSettings},
    http,
    limits::{Budgets, DELIVERY_WAIT_MAX},
    mail::{Folder, Post, Smtp, SmtpSettings},
    payments::{
        Payments,
        invoice::Invoice,
        stripe::{self, Stripe, StripeSettings},
    },
    service::{Provider, Retention, Service, ServiceError, Settings},
    store::{self, Store, Units, postgres::alone::Alone},
    streaming::{Live, Schedule, Streaming, Viewer},
    vault::Vault,
};
use slotcast_settings::file::{AccessPort, Host, Transport};
use tokio::sync::watch;

use crate::{
    config::{self, Config},
    serve::Addresses,
};
use slotcast_net::clock;

/// Of the data directory.
pub(crate) const DATABASE_FILE: &str = "slotcast.db";
/// Of the data directory.
pub(crate) const KEY_FILE: &str = "secret.key";
const LOCK_FILE: &str = "lock";
const MAIL_FOLDER: &str = "mail";

/// A log-in lasts so long.
const SESSION_LIFE: Duration = Duration::from_secs(14 * 24 * 3600);
/// Until the server that was here before has gone, as the database sees it: longer than the connection of a vanished
/// machine lives.
const SERVER_GONE_MAX: Duration = Duration::from_secs(30);
/// One mail to the mail server.
const MAIL_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest file of terms.
const TERMS_BYTES_MAX: u64 = 256 * 1024;

/// What a member agrees to where the operator has no terms of his own.
const TERMS: &str = include_str!("terms.txt");

pub(crate) type Opening<T> = Result<T, Box<dyn Error>>;

/// The reservation side of a running server.
pub(crate) struct Reservations {
    pub(crate) service: Service,
    pub(crate) router: Router,
    stop: watch::Sender<bool>,
    running: tokio::task::JoinHandle<()>,
    /// No other server works in the data directory, or on the database.
    _alone: (File, Option<Alone>),
}

impl Reservations {
    /// Opens everything and begins to work; must be called inside a runtime.
    ///
    /// Errors: what cannot be opened, with the next step.
    pub(crate) async fn open(
        config: &Config,
        addresses: &Addresses,
        streaming: Arc<dyn Streaming>,
        clock: Clock,
    ) -> Opening<Self> {
        let sold = config.reservations.as_ref().ok_or("reservations are off")?;
        make_data(&sold.data)?;
        let locked = lock_data(&sold.data)?;
        let alone = (locked, Alone::take(&database(sold), SERVER_GONE_MAX, &clock).await?);
        let service = open_service(config, Some(addresses), streaming, Arc::clone(&clock)).await?;
        if let Some(booked_in) = service.sell_in().await? {
            return Err(other_units(&booked_in).into());
        }
        add_channels(config, &service).await?;
        for (number, why) in service.unchargeable().await? {
            tracing::error!(%number, why, "a channel's toll cannot be charged: change it over the API");
        }
        if !sold.verifies_email() {
            tracing::warn!(
                "members reserve without showing that mail to their address arrives: set verify_email = true in \
                 [reservations] wherever strangers can register"
            );
        }
        service.note_presence(true).await?;
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(service.clone().run(stopped));
        let settings =
            EdgeSettings { base_url: sold.public_url.clone(), trusted_proxies: sold.trusted_proxies.clone() };
        let edge = Edge::new(service.clone(), settings);
        let router = slotcast_web::router(edge.clone()).merge(http::router(edge));
        Ok(Self { service, router, stop, running, _alone: alone })
    }

    /// Ends what works by itself, and closes the database.
    pub(crate) async fn close(self) {
        // Nobody listens any more: then it has ended by itself.
        let _ = self.stop.send(true);
        if self.running.await.is_err() {
            tracing::error!("a task of the reservation side had panicked");
        }
        self.service.store().close().await;
    }
}

/// The reservation side without a server: for `slotcast admin`.
pub(crate) async fn open_aside(config: &Config) -> Opening<Service> {
    let sold = config.reservations.as_ref().ok_or("reservations are off")?;
    make_data(&sold.data)?;
    open_service(config, None, Arc::new(NoStreaming), clock::system()).await
}

/// Where a restore puts what shall become the file `name` of the data directory, until all of it is there.
pub(crate) fn restored(data: &Path, name: &str) -> PathBuf {
    data.join(format!("{name}.restored"))
}

/// Makes sure that nobody else works in the data directory; until the file is dropped.
pub(crate) fn lock_data(data: &Path) -> Opening<File> {
    let path = data.join(LOCK_FILE);
    let file = File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => Err(format!("{}: another server works here: stop it first", data.display()).into()),
    }
}

fn make_data(data: &Path) -> Opening<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .map_err(|error| format!("reservations.data: {}: {error}", data.display()).into())
}

/// - `addresses`: where a running server really listens.
async fn open_service(
    config: &Config,
    addresses: Option<&Addresses>,
    streaming: Arc<dyn Streaming>,
    clock: Clock,
) -> Opening<Service> {
    let sold = config.reservations.as_ref().ok_or("reservations are off")?;
    let (key, file) = (sold.data.join(KEY_FILE), sold.data.join(DATABASE_FILE));
    if sold.database.is_none() {
        no_restore_is_half_done(&sold.data)?;
    }
    if sold.database.is_none() && file.exists() && !key.exists() {
        let (key, file) = (key.display(), file.display());
        return Err(format!("{key} is missing: put back the one that belongs to {file}").into());
    }
    if sold.database.is_none() && key.exists() && !file.exists() {
        let file = file.display();
        tracing::warn!(%file, "is made anew, empty, for the key that is there: if there was one, stop and put it back");
    }
    let vault = Vault::open_or_create(&key)?;
    let store: Arc<dyn Store> = store::open(&database(sold), vault.clone(), Arc::clone(&clock)).await?;
    let settings = Settings {
        rules: rules(config, sold)?,
        provider: Provider {
            name: sold.provider.clone(),
            from: sold.mail.from.clone(),
            base_url: sold.public_url.clone(),
        },
        places: places(config, sold, addresses)?,
        terms: terms(sold)?,
        session_life: SESSION_LIFE,
        budgets: Budgets::default(),
        retention: Retention {
            mails: sold.retention.mails,
            samples: sold.retention.samples,
            slots: sold.retention.slots,
            expired: sold.retention.expired,
        },
    };
    let courier = Arc::new(HttpCourier::new(sold.webhook_networks.clone(), DELIVERY_WAIT_MAX)?);
    Ok(Service::new(store, vault, payments(sold)?, post(sold)?, courier, streaming, clock, settings))
}

/// Beside what a broken-off restore has left, a missing key or database would be made anew, and empty.
fn no_restore_is_half_done(data: &Path) -> Opening<()> {
    let half =
        [DATABASE_FILE, KEY_FILE].map(|name| restored(data, name)).into_iter().find(|half| half.exists());
    match half {
        Some(half) => Err(format!(
            "{}: a restore was broken off: run `slotcast admin restore DIRECTORY` again; nothing was lost",
            half.display()
        )
        .into()),
        None => Ok(()),
    }
}

/// Those that are new; one that cannot be sold beside the others keeps nobody from being served.
async fn add_channels(config: &Config, service: &Service) -> Opening<()> {
    let known = service.store().read().await?.channels().await?;
    let is_known = |number| known.iter().any(|sold| sold.number == number);
    for channel in config.channels.iter().filter(|channel| !is_known(channel.number)) {
        let (number, name) = (channel.number, &channel.name);
        match service.add_channels(vec![crate::admin::channel_edit(channel)]).await {
            Ok(0) => {}
            Ok(_) => tracing::info!(%number, %name, "a channel of the configuration is sold from now on"),
            Err(ServiceError::Refused(refusal)) => {
                let why = refusal.in_words(Language::English);
                tracing::error!(%number, %name, why, "a channel of the configuration is not sold");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn other_units(booked_in: &Units) -> String {
    format!(
        "what is booked in this database stands on other units: set them back, `slot = \"{}s\"` and `currency = \
         \"{}\"` in [server], or begin with another data directory and database",
        booked_in.slot.as_secs(),
        booked_in.currency
    )
}

fn database(sold: &config::Reservations) -> String {
    match &sold.database {
        Some(url) => url.expose().to_owned(),
        None => sold.data.join(DATABASE_FILE).display().to_string(),
    }
}

fn rules(config: &Config, sold: &config::Reservations) -> Opening<Rules> {
    Ok(Rules {
        slot: config.server.slot,
        currency: config.server.currency.parse()?,
        reconfirm_before: sold.reconfirm_before,
        reconfirm_grace: sold.reconfirm_grace,
        remind_before: sold.remind_before,
        hold: sold.hold,
        month_slots_max: sold.slots_per_month,
        slots_max: sold.slots_per_reservation,
        ahead_max: sold.ahead,
        extend_from: sold.extend_from,
        zone: sold.zone.clone(),
        margins: margins(config),
        public_to_members_only: sold.members_only,
        list_unconfirmed: sold.list_unconfirmed,
        normal_share_min: sold.normal_share * 10,
        verify_email: sold.verifies_email(),
        friends_max: sold.friends,
        uplink: (!config.server.oversell).then_some(config.server.uplink),
    })
}

const fn margins(config: &Config) -> ConnectMargins {
    ConnectMargins { before: config.links.before, after: config.links.after }
}

fn places(
    config: &Config,
    sold: &config::Reservations,
    addresses: Option<&Addresses>,
) -> Opening<slotcast_settings::Provider> {
    let host: Host = sold.viewers_host.trim_matches(['[', ']']).parse()?;
    let viewers = addresses.map_or(config.viewers.listen, |addresses| addresses.viewers);
    let links = addresses.map_or(&config.links.listen, |addresses| &addresses.links);
    let transports = match config.links.rtp_ports {
        Some(_) => vec![Transport::Tcp, Transport::Udp],
        None => vec![Transport::Tcp],
    };
    let port = |port| NonZeroU16::new(port).ok_or("a port of the configuration is 0");
    let access = |name: String, host: Host, number| -> Opening<AccessPort> {
        Ok(AccessPort { name, host, port: port(number)?, transports: transports.clone() })
    };
    let access = if sold.access_ports.is_empty() {
        let named = |(at, listen): (usize, &std::net::SocketAddr)| {
            access(
                format!("link {}", at + 1),
                host.clone(),
                listen.port().max(u16::from(addresses.is_none())),
            )
        };
        links.iter().enumerate().map(named).collect::<Opening<Vec<_>>>()?
    } else {
        let named = |port: &config::AccessPort| {
            access(port.name.clone(), port.host.trim_matches(['[', ']']).parse()?, port.port)
        };
        sold.access_ports.iter().map(named).collect::<Opening<Vec<_>>>()?
    };
    let provider = slotcast_settings::Provider {
        name: sold.provider.clone(),
        access,
        viewers_host: host,
        viewers_port: port(viewers.port().max(u16::from(addresses.is_none())))?,
        margins: margins(config),
    };
    provider.check().map_err(|error| format!("settings files: {error}"))?;
    Ok(provider)
}

fn terms(sold: &config::Reservations) -> Opening<String> {
    let Some(file) = &sold.terms_file else { return Ok(TERMS.to_owned()) };
    let wrong = |what: &dyn std::fmt::Display| format!("reservations.terms_file: {}: {what}", file.display());
    let size = fs::metadata(file).map_err(|error| wrong(&error))?.len();
    if size > TERMS_BYTES_MAX {
        return Err(wrong(&format_args!("expected at most {TERMS_BYTES_MAX} bytes")).into());
    }
    Ok(fs::read_to_string(file).map_err(|error| wrong(&error))?)
}

fn post(sold: &config::Reservations) -> Opening<Arc<dyn Post>> {
    let mail = &sold.mail;
    let Some(server) = &mail.server else {
        return Ok(Arc::new(Folder::open(&sold.data.join(MAIL_FOLDER))?));
    };
    let smtp = Smtp::new(&SmtpSettings {
        server: server.clone(),
        user: mail.user.clone(),
        password: mail.password.as_ref().map(|password| password.expose().to_owned()),
        timeout: MAIL_TIMEOUT,
    });
    Ok(Arc::new(smtp.map_err(|error| format!("mail.server: {error}"))?))
}

fn payments(sold: &config::Reservations) -> Opening<Arc<dyn Payments>> {
    Ok(match &sold.payments {
        config::Payments::Invoice => Arc::new(Invoice),
        config::Payments::Stripe { key, webhook, url } => Arc::new(Stripe::new(&StripeSettings {
            secret_key: key.expose().to_owned(),
            webhook_secret: Some(webhook.expose().to_owned()),
            base_url: url.clone(),
            timeout: stripe::DEFAULT_TIMEOUT,
        })?),
    })
}

/// No server runs here: nothing is on air.
struct NoStreaming;

impl Streaming for NoStreaming {
    fn publish(&self, _: &Schedule) -> Result<(), String> {
        Ok(())
    }

    fn is_normal(&self) -> bool {
        false
    }

    fn live(&self) -> BTreeMap<ReservationNumber, Live> {
        BTreeMap::new()
    }

    fn viewers(&self, _: ReservationNumber) -> Vec<Viewer> {
        Vec::new()
    }

    fn kick_viewer(&self, _: ReservationNumber, _: u64, _: &str) -> bool {
        false
    }

    fn kick_link(&self, _: ReservationNumber, _: &str) -> bool {
        false
    }
}
