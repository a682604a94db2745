//! The words that people type into files, forms and addresses.

use std::{
    fmt::{Debug, Display},
    str::FromStr,
};

use slotcast_core::{
    time::WallTime,
    words::{BitRate, ChannelName},
};
use slotcast_reservation::domain::words::Currency;

use crate::text;

/// What is read as a word is written as what reads the same.
pub(crate) fn words(data: &[u8]) {
    let text = text(data);
    read_back::<ChannelName>(&text);
    read_back::<BitRate>(&text);
    read_back::<Currency>(&text);
    read_back::<WallTime>(&text);
}

fn read_back<T: FromStr<Err: Debug + Display> + Display + Debug + PartialEq>(text: &str) {
    match text.parse::<T>() {
        Ok(word) => assert_eq!(word.to_string().parse::<T>().expect("what was written is read"), word),
        Err(refusal) => assert!(!refusal.to_string().is_empty(), "refused without a reason"),
    }
}
