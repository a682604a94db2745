//! How large the picture of a stream is, read from its sequence parameter set.
//!
//! Owns: [`picture_size`], the only place that decodes a parameter set. For people, never for a decision.
//! Refuses: what breaks off, counts beyond what the standards allow, a picture of no size. No work beyond
//! [`PARAMETER_SET_BYTES_MAX`] bytes.

use slotcast_core::media::Codec;

use crate::keyframe::{PARAMETER_SET_BYTES_MAX, unescaped};

/// A picture in pixels, as a player shows it: what the encoder crops away is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureSize {
    /// Above 0.
    pub width: u16,
    /// Above 0.
    pub height: u16,
}

/// The size that `sps`, a whole NAL unit without start code, tells.
///
/// H.264 §7.3.2.1.1 and H.265 §7.3.2.2.1. `None`: another codec, or a set that cannot be read.
pub fn picture_size(codec: Codec, sps: &[u8]) -> Option<PictureSize> {
    if sps.len() > PARAMETER_SET_BYTES_MAX {
        return None;
    }
    match codec {
        Codec::H264 => h264(&mut Bits::new(sps.get(1..)?)),
        Codec::H265 => h265(&mut Bits::new(sps.get(2..)?)),
        _ => None,
    }
}

/// Profiles whose sets tell the sampling of colour (H.264 §7.3.2.1.1).
const PROFILES_WITH_CHROMA: [u32; 13] = [44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244];

fn h264(bits: &mut Bits<'_>) -> Option<PictureSize> {
    let profile = bits.take(8)?;
    bits.skip(16)?;
    bits.unsigned()?;
    let mut chroma = Chroma { is_444: false, x: 2, y: 2 };
    if PROFILES_WITH_CHROMA.contains(&profile) {
        chroma = bits.chroma_format()?;
        bits.unsigned()?;
        bits.unsigned()?;
        bits.skip(1)?;
        if bits.flag()? {
            for list in 0..if chroma.is_444 { 12 } else { 8 } {
                if bits.flag()? {
                    bits.skip_scaling_list(if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.unsigned()?;
    match bits.unsigned()? {
        0 => drop(bits.unsigned()?),
        1 => {
            bits.skip(1)?;
            bits.unsigned()?;
            bits.unsigned()?;
            let count = bits.unsigned().filter(|count| *count <= 255)?;
            for _ in 0..count {
                bits.unsigned()?;
            }
        }
        2 => {}
        _ => return None,
    }
    bits.unsigned()?;
    bits.skip(1)?;
    let width = macroblocks(bits.unsigned()?)?;
    let map_height = macroblocks(bits.unsigned()?)?;
    let fields = if bits.flag()? { 1 } else { 2 };
    if fields == 2 {
        bits.skip(1)?;
    }
    bits.skip(1)?;
    let unit = Chroma { y: chroma.y * fields, ..chroma };
    bits.cropped(width, map_height.checked_mul(fields)?, &unit)
}

/// 16 pixels for each.
fn macroblocks(minus_1: u32) -> Option<u32> {
    minus_1.checked_add(1)?.checked_mul(16)
}

fn h265(bits: &mut Bits<'_>) -> Option<PictureSize> {
    bits.skip(4)?;
    let sub_layers = bits.take(3)?;
    bits.skip(1)?;
    // Profile and level in general, then of each sub-layer what it says that it has.
    bits.skip(88 + 8)?;
    let mut has = [(false, false); 8];
    for layer in has.iter_mut().take(sub_layers as usize) {
        *layer = (bits.flag()?, bits.flag()?);
    }
    if sub_layers > 0 {
        bits.skip(2 * (8 - sub_layers))?;
    }
    for (has_profile, has_level) in has {
        bits.skip(u32::from(has_profile) * 88 + u32::from(has_level) * 8)?;
    }
    bits.unsigned()?;
    let chroma = bits.chroma_format()?;
    let (width, height) = (bits.unsigned()?, bits.unsigned()?);
    bits.cropped(width, height, &chroma)
}

/// How finely colour is sampled, and how many pixels one unit of cropping is (H.264 table 6-1).
struct Chroma {
    is_444: bool,
    x: u32,
    y: u32,
}

/// Bits of an escaped NAL unit, from the first.
struct Bits<'a> {
    bytes: Box<dyn Iterator<Item = u8> + 'a>,
    byte: u8,
    left: u32,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: Box::new(unescaped(bytes)), byte: 0, left: 0 }
    }

    fn flag(&mut self) -> Option<bool> {
        if self.left == 0 {
            self.byte = self.bytes.next()?;
            self.left = 8;
        }
        self.left -= 1;
        Some(self.byte >> self.left & 1 == 1)
    }

    /// At most 32.
    fn take(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0, |value, _| Some(value << 1 | u32::from(self.flag()?)))
    }

    fn skip(&mut self, count: u32) -> Option<()> {
        (0..count).try_for_each(|_| self.flag().map(drop))
    }

    /// ue(v): an Exp-Golomb code (H.264 §9.1). se(v) is as long.
    fn unsigned(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1 << zeros) - 1 + self.take(zeros)?)
    }

    /// se(v).
    fn signed(&mut self) -> Option<i64> {
        let code = i64::from(self.unsigned()?);
        Some(if code % 2 == 1 { (code + 1) / 2 } else { -(code / 2) })
    }

    fn chroma_format(&mut self) -> Option<Chroma> {
        let (is_444, x, y) = match self.unsigned()? {
            0 => (false, 1, 1),
            1 => (false, 2, 2),
            2 => (false, 2, 1),
            3 => (true, 1, 1),
            _ => return None,
        };
        if is_444 {
            // Colour planes of their own are cropped by pixels as well.
            self.skip(1)?;
        }
        Some(Chroma { is_444, x, y })
    }

    /// H.264 §7.3.2.1.1.1.
    fn skip_scaling_list(&mut self, size: u32) -> Option<()> {
        let mut last = 8;
        for _ in 0..size {
            let next = (last + self.signed()?).rem_euclid(256);
            if next == 0 {
                break;
            }
            last = next;
        }
        Some(())
    }

    /// What the window of cropping, which comes next, leaves.
    fn cropped(&mut self, width: u32, height: u32, unit: &Chroma) -> Option<PictureSize> {
        let mut crop = [0; 4];
        if self.flag()? {
            for side in &mut crop {
                *side = self.unsigned()?;
            }
        }
        let [left, right, top, bottom] = crop;
        let rest = |whole: u32, a: u32, b: u32, unit: u32| {
            let gone = a.checked_add(b)?.checked_mul(unit)?;
            u16::try_from(whole.checked_sub(gone)?).ok().filter(|rest| *rest > 0)
        };
        Some(PictureSize {
            width: rest(width, left, right, unit.x)?,
            height: rest(height, top, bottom, unit.y)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use slotcast_core::media::Codec::{H264, H265, Vp9};

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[track_caller]
    fn check(codec: Codec, hex: &str, expected: Option<(u16, u16)>) {
        let size = picture_size(codec, &bytes(hex));
        assert_eq!(size.map(|size| (size.width, size.height)), expected, "{hex}");
    }

    /// Sets of x264 and x265: cropped at an edge, of each sampling of colour, interlaced, with sub-layers.
    #[test]
    fn what_encoders_write() {
        check(H264, "67640028acd940780227e5c044000003000400000300c83c60c658", Some((1920, 1080)));
        check(H264, "6742c00cd901419f9f011000000300100000030320f142a480", Some((320, 180)));
        check(H264, "67f4001e919b281485fc7cf808800000030080000019078b16cb", Some((642, 362)));
        check(H264, "677a001ebcd940a42fe227c044000003000400000300c83c58b658", Some((642, 362)));
        check(H264, "6764001eacd940b47b6022000003000200000300643e28532c", Some((720, 480)));
        check(H264, "6764000df36505421e3e3f016c800000030080000019078a14cb", Some((322, 242)));
        let full = "420101016000000300900000030000030078a003c08010e596566924caf0168080000003008000000c84";
        check(H265, full, Some((1920, 1080)));
        let finer = "4201010408000003009d0800000300003fb005120171c93e5959a4932bc05a020000030002000003003210";
        check(H265, finer, Some((642, 362)));
        let layers = "42010202200000030090000003000003003c0000a00a080b9f6d965662b349265780b404000003000400\
                      0003006420";
        check(H265, layers, Some((320, 180)));
    }

    #[test]
    fn sets_that_break_off_or_contradict_themselves_tell_nothing() {
        let whole = bytes("67640028acd940780227e5c044000003000400000300c83c60c658");
        for length in 0..10 {
            assert_eq!(picture_size(H264, &whole[..length]), None, "{length}");
        }
        check(Vp9, "67640028acd940780227e5c044000003000400000300c83c60c658", None);
        // 16 pixels wide, of which 14, then 32 are cropped at the left.
        check(H264, "6742c00cddd11c80", Some((2, 16)));
        check(H264, "6742c00cddd08f80", None);
        assert_eq!(picture_size(H264, &[0xff; PARAMETER_SET_BYTES_MAX + 1]), None);
    }

    proptest! {
        #[test]
        fn never_panics_and_never_says_zero(
            codec in select(vec![H264, H265]),
            sps in vec(any::<u8>(), 0..200),
        ) {
            let size = picture_size(codec, &sps);
            prop_assert!(size.is_none_or(|size| size.width > 0 && size.height > 0));
        }
    }
}
