//! What comes into the reservation side from outside without being a field of JSON: settings files, typed reservation
//! IDs, words of people, the payment company's own calls.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use slotcast_reservation::{
    domain::words::{Email, UserId},
    payments::{Noticed, PaymentError, stripe::webhook as stripe},
    vault::ReservationId,
};
use slotcast_settings::SettingsFile;

use crate::text;

const WEBHOOK_SECRET: &str = "whsec_0123456789abcdef";
/// When the webhooks come, in Unix seconds.
const WEBHOOK_SECONDS: i64 = 1_795_348_800;

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
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (signature, body) = data.split_at(at);
    let body = body.get(1..).unwrap_or_default();
    let notice = stripe::read(WEBHOOK_SECRET, &text(signature), body, WEBHOOK_SECONDS);
    assert!(notice.is_err(), "a call without the right signature was believed");
}

/// A body with the right signature: read, or refused with a reason. What it tells names what it is about.
pub(crate) fn webhook_event(data: &[u8]) {
    let mut mac = Hmac::<Sha256>::new_from_slice(WEBHOOK_SECRET.as_bytes()).expect("a key of any length");
    mac.update(format!("{WEBHOOK_SECONDS}.").as_bytes());
    mac.update(data);
    let signature = format!("t={WEBHOOK_SECONDS},v1={:x}", mac.finalize().into_bytes());
    match stripe::read(WEBHOOK_SECRET, &signature, data, WEBHOOK_SECONDS) {
        Ok(None) => {}
        Ok(Some(notice)) => {
            assert!(notice.event.starts_with("evt_"));
            assert!(!notice.reference.is_empty(), "{notice:?}");
            if let Noticed::Failed(why) = notice.what {
                assert!(!why.is_empty(), "failed without a reason");
            }
        }
        Err(PaymentError::Misconfigured(why)) => {
            assert!(!why.is_empty() && !why.contains("signature"), "a right signature was refused: {why}");
        }
        Err(error) => panic!("{error}: an event is read or refused"),
    }
}
