//! The rules of booking: pure functions of what is known, what is asked, and the time.
//!
//! Owns: [`Rules`], what the operator can set of them; the decisions are in the rooms below.
//! Invariant: a decision changes nothing by itself; it is a value that the store writes or nobody does.

mod booking;
mod channels;
mod mails;
mod payments;
mod program;
mod refunds;
mod renewal;
mod running;
mod slots;

pub use booking::{
    BookingFacts, Draft, accept_terms, book, book_special, cancel, check_month, check_times, excuse,
    expire_hold, expire_reconfirmation, may_book, may_reconfirm, reconfirm, reissue_id, remind, total,
};
pub use channels::{may_sell, take_up};
pub use mails::{about_member, card_mail, payment_of_mail, refund_mail, refund_of_mail, welcome};
pub use payments::{collected, dispute, release};
pub use program::{change, check_program, program_problems};
pub use refunds::{Money, agrees, came_back, came_back_elsewhere, given_back, refund, refunded};
pub use renewal::{AfterDecline, after_decline, card_until, renewal};
pub use running::{Extension, end, end_early, extend, may_extend, settle, start};
pub use slots::{MonthShare, Quote, month_of, start_of, zoned};

use std::time::Duration;

use slotcast_core::words::{BitRate, ConnectMargins};

use super::words::Currency;

/// What the operator sets.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The unit of booking and pricing; slots begin at whole multiples of it since 1970 (UTC).
    pub slot: Duration,
    /// Of all money.
    pub currency: Currency,
    /// Reconfirmation is due so long before the start …
    pub reconfirm_before: Duration,
    /// … but never sooner than so long after the terms were accepted, and not later than the window's end.
    pub reconfirm_grace: Duration,
    /// The reminder goes out so long before the reconfirmation is due.
    pub remind_before: Duration,
    /// The terms must be accepted within this.
    pub hold: Duration,
    /// Slots of one member that start in one month of `zone`.
    pub month_slots_max: u32,
    /// Slots of one reservation.
    pub slots_max: u32,
    /// A window must end within this from now.
    pub ahead_max: Duration,
    /// An extension is offered from so long before the end.
    pub extend_from: Duration,
    /// The provider's time zone: months and days are its.
    pub zone: jiff::tz::TimeZone,
    /// When links are accepted.
    pub margins: ConnectMargins,
    /// Whether `public` means any member instead of anyone.
    pub public_to_members_only: bool,
    /// Whether programs are listed as soon as the terms are accepted; else when they are reconfirmed.
    pub list_unconfirmed: bool,
    /// Of the window, in thousandths, during which the server must have been seen to run normally to be paid.
    pub normal_share_min: u32,
    /// Whether members show that mail to their address arrives before they reserve.
    pub verify_email: bool,
    /// Friends of one program.
    pub friends_max: usize,
    /// What all seats of all channels may take together; `None`: as much as is sold.
    pub uplink: Option<BitRate>,
}
