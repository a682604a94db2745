//! What every use case about a reservation reads and writes: whose it is, what is taken, what a repeated request made.

use slotcast_core::{
    time::WallTime,
    words::{ChannelNumber, Window},
};

use super::{Actor, Answer, ServiceError};
use crate::{
    domain::{
        effects::Effects,
        member::Member,
        refusal::{Refusal, Thing},
        reservation::{Reservation, SoldChannel},
        rules::Rules,
        words::{MemberNumber, ReservationNumber},
    },
    store::{Conflict, KeptAnswer, Reads, StoreError, Tx},
};

/// A request that may come again must not book twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// What `Idempotency-Key` said: 1 to 200 printable ASCII characters.
    pub key: String,
    /// SHA-256 of the request's method, path and body.
    pub request_hash: [u8; 32],
}

/// The reservation that was made under that key before. Refused: the key came with another request.
pub(super) async fn kept(
    tx: &mut dyn Tx,
    actor: &Actor,
    idempotency: Option<&Idempotency>,
) -> Answer<Option<Reservation>> {
    let Some(number) = kept_number(tx, actor, idempotency).await? else { return Ok(None) };
    Ok(Some(actor.own(tx.reservation(ReservationNumber(number)).await?)?))
}

/// The number of what was made under that key before. Refused: the key came with another request.
pub(super) async fn kept_number(
    tx: &mut dyn Tx,
    actor: &Actor,
    idempotency: Option<&Idempotency>,
) -> Answer<Option<i64>> {
    let Some(idempotency) = idempotency else { return Ok(None) };
    let key = &idempotency.key;
    if !(1..=200).contains(&key.len()) || !key.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
        return Err(Refusal::BadRequest {
            problem: "Idempotency-Key: expected 1 to 200 printable characters.",
        }
        .into());
    }
    let scope = actor.member.to_string();
    let Some(answer) = tx.kept_answer(&scope, &idempotency.key).await? else { return Ok(None) };
    if answer.request_hash != idempotency.request_hash {
        return Err(Refusal::KeyReused.into());
    }
    let number = answer.made.parse();
    Ok(Some(number.map_err(|_| ServiceError::Internal("a kept answer is no number".to_owned()))?))
}

/// Keeps what was made under that key.
pub(super) async fn keep(
    tx: &mut dyn Tx,
    actor: &Actor,
    idempotency: Option<&Idempotency>,
    number: impl ToString + Send,
    now: WallTime,
) -> Answer<()> {
    let Some(idempotency) = idempotency else { return Ok(()) };
    let answer = KeptAnswer { request_hash: idempotency.request_hash, made: number.to_string() };
    Ok(tx.keep_answer(&actor.member.to_string(), &idempotency.key, &answer, now).await?)
}

/// Writes the effects; slots that somebody took a moment sooner are a refusal.
pub(super) async fn write(tx: &mut dyn Tx, effects: &Effects) -> Answer<()> {
    match tx.write(effects).await {
        Err(StoreError::Conflict(Conflict::Slots(taken))) => {
            Err(Refusal::SlotTaken { channel: effects.reservation.channel, taken }.into())
        }
        other => Ok(other?),
    }
}

/// The starts of the taken slots of a window.
pub(super) async fn taken_in(
    tx: &mut (dyn Tx + '_),
    channel: ChannelNumber,
    window: Window,
) -> Answer<Vec<WallTime>> {
    let taken = tx.taken_slots(channel, window.start(), window.end()).await?;
    Ok(taken.into_iter().map(|slot| slot.start).collect())
}

/// What a member has used already of the months in which the slots begin.
pub(super) async fn used_in(
    reads: &mut (dyn Reads + '_),
    member: MemberNumber,
    slots: &[WallTime],
    rules: &Rules,
) -> Answer<Vec<u32>> {
    let mut used = Vec::new();
    for month in rules.months(slots) {
        used.push(reads.slots_of(member, month.from, month.to).await?);
    }
    Ok(used)
}

/// The channel of that number, as it stays until what is booked on it stands.
pub(super) async fn channel_of(tx: &mut (dyn Tx + '_), number: ChannelNumber) -> Answer<SoldChannel> {
    Ok(tx.hold_channel(number).await?.ok_or(Refusal::NotFound(Thing::Channel))?)
}

/// Whose reservation it is.
pub(super) async fn member_of(tx: &mut (dyn Tx + '_), reservation: &Reservation) -> Answer<Member> {
    let member = tx.member(reservation.member).await?;
    member.ok_or_else(|| ServiceError::Internal(format!("reservation {} has no member", reservation.number)))
}
