//! What is drawn: the mark, icons, QR codes, and the picture of a program that has no other.
//!
//! Invariant: all of it is SVG without style and script, so the strictest policy lets it be.

use std::fmt::Write as _;

use qrcode::{Color, EcLevel, QrCode};

use crate::markup::Markup;

/// An icon by its name, 24 units square, drawn by lines. One that is not there draws nothing.
pub(crate) fn icon(name: &str) -> Markup {
    let path = match name {
        "play" => "M7 4.5v15l12.5-7.5z",
        "copy" => "M9 9h11v11H9zM15 9V4H4v11h5",
        "calendar" => "M4 6h16v14H4zM4 10.5h16M8.5 3v5M15.5 3v5M12 13v4M10 15h4",
        "download" => "M12 4v11M7 10.5l5 5 5-5M4 20h16",
        "seats" => "M6 4v8h12V4M4 10v8h16v-8M7 18v2.5M17 18v2.5",
        "lock" => "M6 11h12v9H6zM9 11V8a3 3 0 0 1 6 0v3",
        "clock" => "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M12 7.5V12l3.5 2",
        "search" => "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13M15.5 15.5 20.5 20.5",
        "left" => "M14.5 5l-7 7 7 7",
        "right" => "M9.5 5l7 7-7 7",
        "warn" => "M12 4 2.5 20h19zM12 10v5M12 17.2v.3",
        "check" => "M4.5 12.5l5 5 10-11",
        "mail" => "M3 6h18v13H3zM3 7l9 6.5L21 7",
        _ => "",
    };
    Markup(
        format!("<svg class=\"icon\" viewBox=\"0 0 24 24\" aria-hidden=\"true\"><path d=\"{path}\"/></svg>")
            .into(),
    )
}

/// The mark: three slots of a line, the one in the middle is on air.
pub(crate) const fn mark() -> Markup {
    Markup(std::borrow::Cow::Borrowed(
        "<svg class=\"sign\" viewBox=\"0 0 22 22\" aria-hidden=\"true\"><rect class=\"idle\" x=\"1\" y=\"5\" width=\"5\" \
         height=\"12\" rx=\"1.6\"/><rect class=\"hot\" x=\"8.5\" y=\"1\" width=\"5\" height=\"20\" rx=\"1.6\"/><rect \
         class=\"idle\" x=\"16\" y=\"5\" width=\"5\" height=\"12\" rx=\"1.6\"/></svg>",
    ))
}

/// The drawn picture of a program: sixteen bars, one for each digit of its number. So each program has its own, and the
/// same one wherever it is shown.
pub(crate) fn picture(number: i64) -> Markup {
    let mut bars = String::new();
    for (at, digit) in format!("{number:016}").bytes().take(16).enumerate() {
        let digit = usize::from(digit.saturating_sub(b'0'));
        // Bars swell towards the middle, as a voice does.
        let swell = 8 - at.abs_diff(8).min(8);
        let height = 8 + digit * 3 + swell * 3;
        let (x, y) = (16 + at * 8, 45 - height / 2);
        // Writing into a string cannot fail.
        let _ = write!(bars, "M{x} {y}v{height}");
    }
    Markup(
        format!(
            "<svg class=\"bars\" viewBox=\"0 0 152 90\" preserveAspectRatio=\"xMidYMid slice\" aria-hidden=\"true\"><path \
             d=\"{bars}\"/></svg>"
        )
        .into(),
    )
}

/// Which of the twelve hues a program's drawn picture has.
pub(crate) const fn hue(number: i64) -> i64 {
    number.rem_euclid(12)
}

/// A QR code of `text`, dark on light in both themes; nothing where the text is too long for one.
///
/// - `label`: what it leads to, for those who do not see it; plain words of ours.
pub(crate) fn qr(text: &str) -> Markup {
    let Ok(code) = QrCode::with_error_correction_level(text.as_bytes(), EcLevel::M) else {
        return Markup::default();
    };
    let width = code.width();
    let mut dark = String::new();
    for (at, color) in code.to_colors().iter().enumerate() {
        if *color == Color::Dark {
            // Writing into a string cannot fail.
            let _ = write!(dark, "M{} {}h1v1h-1z", at % width + 4, at / width + 4);
        }
    }
    let side = width + 8;
    Markup(
        format!(
            "<svg class=\"qr\" viewBox=\"0 0 {side} {side}\" shape-rendering=\"crispEdges\" aria-hidden=\"true\"><rect \
             width=\"{side}\" height=\"{side}\" fill=\"#fff\"/><path d=\"{dark}\" fill=\"#000\"/></svg>"
        )
        .into(),
    )
}
