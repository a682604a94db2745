//! What operators do, and what the binary needs to begin.

use std::fmt;

use slotcast_core::{
    time::WallTime,
    words::{BitRate, ChannelName, ChannelNumber, Seats, Toll},
};

use super::{Actor, Answer, Idempotency, Service, error::unready};
use crate::{
    domain::{
        effects::LedgerTransaction,
        member::{Member, MemberKind},
        reservation::{Reservation, SoldChannel},
        rules::Draft,
        words::{MemberNumber, ReservationNumber},
    },
    store::{Listed, Page, Pickup},
    streaming::Viewer,
};

/// A channel as the operator wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelEdit {
    /// Under which it is sold.
    pub number: ChannelNumber,
    /// Under which it is found in addresses; unique.
    pub name: ChannelName,
    /// How many viewers at once.
    pub seats: Seats,
    /// The bit rate that it may carry.
    pub class: BitRate,
    /// The price of one slot.
    pub toll: Toll,
}

/// What an operator changes of a member; `None`: stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OperatorEdit {
    /// What it may do.
    pub kind: Option<MemberKind>,
    /// Whether it runs the server.
    pub is_operator: Option<bool>,
    /// Whether it is shut out; its sessions and tokens end.
    pub is_blocked: Option<bool>,
}

/// The first operator.
#[derive(Clone)]
pub struct NewOperator {
    /// Logs in with it.
    pub user_id: String,
    /// As the person writes it.
    pub name: String,
    /// Where mails go.
    pub email: String,
    /// 10 to 128 characters.
    pub password: String,
}

impl fmt::Debug for NewOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewOperator({:?})", self.user_id)
    }
}

impl Service {
    /// Adds a channel (`version` `None`) or changes one whose version that is. What is reserved stays as booked.
    pub async fn put_channel(
        &self,
        actor: &Actor,
        edit: ChannelEdit,
        version: Option<i64>,
    ) -> Answer<SoldChannel> {
        let _ = (actor, edit, version);
        unready()
    }

    /// The channel is not sold any more.
    pub async fn retire_channel(
        &self,
        actor: &Actor,
        number: ChannelNumber,
        version: Option<i64>,
    ) -> Answer<SoldChannel> {
        let _ = (actor, number, version);
        unready()
    }

    /// Books the operator's own program: confirmed at once, without toll.
    pub async fn book_special(
        &self,
        actor: &Actor,
        draft: Draft,
        idempotency: Option<Idempotency>,
    ) -> Answer<Reservation> {
        let _ = (actor, draft, idempotency);
        unready()
    }

    /// Recommends a program; secret ones cannot be.
    pub async fn put_pickup(&self, actor: &Actor, pickup: Pickup) -> Answer<()> {
        let _ = (actor, pickup);
        unready()
    }

    /// Recommends it no more.
    pub async fn end_pickup(&self, actor: &Actor, number: ReservationNumber) -> Answer<()> {
        let _ = (actor, number);
        unready()
    }

    /// Members by user ID.
    pub async fn members(&self, actor: &Actor, page: Page) -> Answer<Listed<Member>> {
        let _ = (actor, page);
        unready()
    }

    /// One member.
    pub async fn member(&self, actor: &Actor, number: MemberNumber) -> Answer<Member> {
        let _ = (actor, number);
        unready()
    }

    /// Changes a member. Refused: `InUse("last operator")` where nobody could operate any more.
    pub async fn edit_member(
        &self,
        actor: &Actor,
        number: MemberNumber,
        version: Option<i64>,
        edit: OperatorEdit,
    ) -> Answer<Member> {
        let _ = (actor, number, version, edit);
        unready()
    }

    /// Cancels anybody's reservation; nobody owes anything.
    pub async fn operator_cancel(
        &self,
        actor: &Actor,
        number: ReservationNumber,
        version: Option<i64>,
    ) -> Answer<Reservation> {
        let _ = (actor, number, version);
        unready()
    }

    /// Who watches.
    pub async fn viewers(&self, actor: &Actor, number: ReservationNumber) -> Answer<Vec<Viewer>> {
        let _ = (actor, number);
        unready()
    }

    /// Ends one viewer's session. `reason`: one line, 1 to 200 characters.
    pub async fn kick_viewer(
        &self,
        actor: &Actor,
        number: ReservationNumber,
        viewer: u64,
        reason: &str,
    ) -> Answer<()> {
        let _ = (actor, number, viewer, reason);
        unready()
    }

    /// Closes the program's link; the broadcaster may connect again. `reason` as above.
    pub async fn kick_link(&self, actor: &Actor, number: ReservationNumber, reason: &str) -> Answer<()> {
        let _ = (actor, number, reason);
        unready()
    }

    /// Ledger transactions with `from <= at < to`.
    pub async fn ledger(
        &self,
        actor: &Actor,
        from: WallTime,
        to: WallTime,
        page: Page,
    ) -> Answer<Listed<LedgerTransaction>> {
        let _ = (actor, from, to, page);
        unready()
    }

    /// The same as CSV (RFC 4180), all of it.
    pub async fn ledger_csv(&self, actor: &Actor, from: WallTime, to: WallTime) -> Answer<String> {
        let _ = (actor, from, to);
        unready()
    }

    /// Makes an operator, or makes the member of that user ID one. For the command line.
    pub async fn create_operator(&self, operator: NewOperator) -> Answer<Member> {
        let _ = operator;
        unready()
    }

    /// Adds channels and changes those that differ; returns how many were. For the command line.
    pub async fn import_channels(&self, channels: Vec<ChannelEdit>) -> Answer<u32> {
        let _ = channels;
        unready()
    }
}
