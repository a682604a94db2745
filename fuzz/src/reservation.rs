//! What comes into the reservation side from outside without being a field of JSON: settings files, typed reservation
//! IDs, words of people, the payment company's own calls.

use slotcast_reservation::{
    domain::words::{Email, UserId},
    payments::{
        Payments,
        stripe::{DEFAULT_TIMEOUT, Stripe, StripeSettings},
    },
    settings::SettingsFile,
    vault::ReservationId,
};

use crate::text;

/// What is read is written as what reads the same.
pub(crate) fn settings_file(data: &[u8]) {
    if let Ok(file) = SettingsFile::parse(data) {
        let written = file.write().expect("what was read can be written");
        assert_eq!(SettingsFile::parse(written.as_bytes()).as_ref(), Ok(&file));
    }
}

/// What counts as an ID has one canonical form.
pub(crate) fn typed_id(data: &[u8]) {
    if let Some(id) = ReservationId::from_typed(&text(data)) {
        assert_eq!(id.expose().len(), 30);
        assert_eq!(ReservationId::from_typed(id.expose()), Some(id));
    }
}

/// What is taken for an address or a user ID cannot end a line of a mail or of a log.
pub(crate) fn person(data: &[u8]) {
    let text = text(data);
    if let Ok(email) = text.parse::<Email>() {
        assert!(email.as_str().bytes().all(|b| b.is_ascii_graphic() && !b"<>,;\"".contains(&b)));
    }
    if let Ok(user) = text.parse::<UserId>() {
        assert!(user.as_str().bytes().all(|b| b.is_ascii_graphic()) && user.as_str().len() <= 32);
    }
}

/// The first line is taken for the signature's header, the rest for the body: no forged call is believed.
pub(crate) fn webhook(data: &[u8]) {
    let stripe = Stripe::new(&StripeSettings {
        secret_key: "sk_test_0123456789abcdef".to_owned(),
        webhook_secret: Some("whsec_0123456789abcdef".to_owned()),
        base_url: "http://127.0.0.1:1".to_owned(),
        timeout: DEFAULT_TIMEOUT,
    })
    .expect("these settings are right");
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (signature, body) = data.split_at(at);
    let notice = stripe.read_notice(&text(signature), body.get(1..).unwrap_or_default(), 1_795_348_800);
    assert!(notice.is_err(), "a call without the right signature was believed");
}
