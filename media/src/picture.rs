//! How large the picture of a stream is, read from its sequence parameter set.
//!
//! Owns: [`picture_size`], the only place that decodes a parameter set. For people, never for a decision.
//! Refuses: what breaks off, counts beyond what the standards allow, a picture of no size. No work beyond
//! [`PARAMETER_SET_BYTES_MAX`] bytes.
//! Not here: the bits of H.264's set and how they are coded (the crate `h264-reader`).

use std::num::NonZeroUsize;

use h264_reader::{
    nal::sps::SeqParameterSet,
    rbsp::{BitRead, BitReader, BitReaderError, ByteReader},
};
use slotcast_core::media::Codec;

use crate::keyframe::PARAMETER_SET_BYTES_MAX;

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
    let (width, height) = match codec {
        Codec::H264 => {
            let bits = BitReader::new(ByteReader::skipping_h264_header(sps));
            SeqParameterSet::from_bits(bits).ok()?.pixel_dimensions().ok()?
        }
        Codec::H265 => h265(sps).ok()??,
        _ => return None,
    };
    let pixels = |pixels| u16::try_from(pixels).ok().filter(|pixels| *pixels > 0);
    Some(PictureSize { width: pixels(width)?, height: pixels(height)? })
}

/// Width and height; `Ok(None)`: they contradict themselves.
fn h265(sps: &[u8]) -> Result<Option<(u32, u32)>, BitReaderError> {
    const NAL_HEADER_BYTES: NonZeroUsize = NonZeroUsize::new(2).unwrap();
    let mut bits = BitReader::new(ByteReader::skipping_bytes(sps, NAL_HEADER_BYTES));
    bits.skip(4, "sps_video_parameter_set_id")?;
    let sub_layers: u32 = bits.read(3, "sps_max_sub_layers_minus1")?;
    bits.skip(1, "sps_temporal_id_nesting_flag")?;
    // Profile and level in general, then of each sub-layer what it says that it has.
    bits.skip(88 + 8, "general_profile_and_level")?;
    let mut has = [(false, false); 8];
    for layer in has.iter_mut().take(sub_layers as usize) {
        *layer = (bits.read_bool("sub_layer_profile_present")?, bits.read_bool("sub_layer_level_present")?);
    }
    if sub_layers > 0 {
        bits.skip(2 * (8 - sub_layers), "reserved_zero_2bits")?;
    }
    for (has_profile, has_level) in has {
        bits.skip(u32::from(has_profile) * 88 + u32::from(has_level) * 8, "sub_layer_profile_and_level")?;
    }
    bits.read_ue("sps_seq_parameter_set_id")?;
    // How many pixels one unit of cropping is (H.265 table 6-1).
    let (unit_x, unit_y) = match bits.read_ue("chroma_format_idc")? {
        0 => (1, 1),
        1 => (2, 2),
        2 => (2, 1),
        3 => {
            bits.skip(1, "separate_colour_plane_flag")?;
            (1, 1)
        }
        _ => return Ok(None),
    };
    let (width, height) = (bits.read_ue("pic_width")?, bits.read_ue("pic_height")?);
    let mut crop = [0; 4];
    if bits.read_bool("conformance_window_flag")? {
        for side in &mut crop {
            *side = bits.read_ue("conformance_window_offset")?;
        }
    }
    let [left, right, top, bottom] = crop;
    let rest =
        |whole: u32, a: u32, b: u32, unit: u32| whole.checked_sub(a.checked_add(b)?.checked_mul(unit)?);
    Ok(rest(width, left, right, unit_x).zip(rest(height, top, bottom, unit_y)))
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
        check(H264, "6742c00cddd11d", Some((2, 16)));
        check(H264, "6742c00cddd08f40", None);
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
