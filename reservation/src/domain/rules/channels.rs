//! What may be sold together.

use slotcast_core::words::{BitRate, ChannelNumber, Seats};

use crate::domain::{refusal::Refusal, reservation::SoldChannel};

/// What the channels send when every seat that is sold is taken, in bits per second.
fn egress(channels: &[SoldChannel]) -> u64 {
    let sold = channels.iter().filter(|channel| !channel.is_retired);
    sold.map(|channel| egress_of(channel.seats, channel.class)).fold(0, u64::saturating_add)
}

fn egress_of(seats: Seats, class: BitRate) -> u64 {
    u64::from(seats.count()).saturating_mul(class.bits_per_second())
}

/// What was booked before a channel became smaller or was retired keeps its seats: until it is over, its channel counts
/// with them.
pub fn take_up(channels: &mut [SoldChannel], number: ChannelNumber, seats: Seats, class: BitRate) {
    let Some(channel) = channels.iter_mut().find(|channel| channel.number == number) else { return };
    if channel.is_retired || egress_of(seats, class) > egress_of(channel.seats, channel.class) {
        *channel = SoldChannel { seats, class, is_retired: false, ..channel.clone() };
    }
}

/// Whether `new`, in place of the channel of its number among `known`, keeps all within the uplink. What takes less
/// than before may always be.
///
/// - `uplink`: what this machine can send; `None`: more may be sold than that.
///
/// Refused: `UplinkSold`, with how many seats would fit.
pub fn may_sell(known: &[SoldChannel], new: &SoldChannel, uplink: Option<BitRate>) -> Result<(), Refusal> {
    let Some(uplink) = uplink else { return Ok(()) };
    let others: Vec<_> = known.iter().filter(|channel| channel.number != new.number).cloned().collect();
    let (before, rest) = (egress(known), egress(&others));
    let after = rest.saturating_add(egress_of(new.seats, new.class));
    if after <= uplink.bits_per_second() || after <= before {
        return Ok(());
    }
    let seats_max = uplink.bits_per_second().saturating_sub(rest) / new.class.bits_per_second();
    Err(Refusal::UplinkSold { uplink, seats_max })
}

#[cfg(test)]
mod tests {
    use slotcast_core::words::Toll;

    use super::*;
    use crate::limits::GATHER_USUAL;

    fn channel(number: u16, seats: u32, is_retired: bool) -> SoldChannel {
        SoldChannel {
            number: ChannelNumber(number),
            name: format!("channel{number}").parse().unwrap(),
            seats: Seats::new(seats).unwrap(),
            class: "2Mbit/s".parse().unwrap(),
            toll: Toll(0),
            gather: GATHER_USUAL,
            is_retired,
            version: 1,
        }
    }

    /// `seats` for channel 2 beside channel 1 with 30, on 100 Mbit/s. `Err`: how many are said to fit.
    fn try_seats(before: Option<SoldChannel>, seats: u32) -> Result<(), u64> {
        let known: Vec<_> = [Some(channel(1, 30, false)), before].into_iter().flatten().collect();
        let uplink = "100Mbit/s".parse().ok();
        match may_sell(&known, &channel(2, seats, false), uplink) {
            Ok(()) => Ok(()),
            Err(Refusal::UplinkSold { seats_max, .. }) => Err(seats_max),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn seats_are_sold_up_to_the_uplink() {
        assert_eq!(try_seats(None, 20), Ok(()));
        assert_eq!(try_seats(None, 21), Err(20));
        assert_eq!(try_seats(Some(channel(2, 5, false)), 20), Ok(()), "its own are not counted twice");
        assert_eq!(try_seats(Some(channel(2, 50, true)), 21), Err(20), "retired, it takes nothing");
        assert_eq!(try_seats(Some(channel(2, 50, false)), 49), Ok(()), "less than before, though too much");
        assert_eq!(try_seats(Some(channel(2, 50, false)), 51), Err(20));
        assert_eq!(may_sell(&[channel(1, 30, false)], &channel(2, 1000, false), None), Ok(()));
    }

    #[test]
    fn nothing_overflows() {
        let most = Seats::new(1_048_575).unwrap();
        let huge = |number| SoldChannel {
            seats: most,
            class: "1000Gbit/s".parse().unwrap(),
            ..channel(number, 1, false)
        };
        let known: Vec<_> = (1..40).map(huge).collect();
        assert_eq!(egress(&known), u64::MAX);
        assert!(may_sell(&known[1..], &huge(1), "1Gbit/s".parse().ok()).is_ok(), "already beyond all count");
        assert!(may_sell(&[], &huge(1), "1Gbit/s".parse().ok()).is_err());
    }
}
