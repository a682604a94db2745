//! Files that every page shares: style, modules, the mark. Named by their content, so browsers keep them for ever.
//!
//! Invariant: a name leads to the same bytes for ever; another content has another name.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use slotcast_reservation::domain::refusal::Refusal;

use crate::page::Fail;

struct Asset {
    /// `style.css`.
    plain: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
    /// `/static/style-0123456789abcdef.css`.
    address: String,
}

macro_rules! assets {
    ($($name:literal $media_type:literal;)*) => {
        static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| vec![
            $(asset($name, $media_type, include_bytes!(concat!("../static/", $name)))),*
        ]);
    };
}

assets! {
    "style.css" "text/css; charset=utf-8";
    "page.js" "text/javascript; charset=utf-8";
    "mark.svg" "image/svg+xml";
}

fn asset(plain: &'static str, media_type: &'static str, bytes: &'static [u8]) -> Asset {
    let (stem, end) = plain.rsplit_once('.').unwrap_or((plain, ""));
    let hash: String = Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Asset { plain, media_type, bytes, address: format!("/static/{stem}-{hash}.{end}") }
}

/// Where a file is found. The empty text where there is none of that name.
pub(crate) fn address(plain: &str) -> &'static str {
    ASSETS.iter().find(|asset| asset.plain == plain).map_or("", |asset| asset.address.as_str())
}

/// Hands one out.
pub(crate) async fn file(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Fail> {
    let found = ASSETS.iter().find(|asset| asset.address.strip_prefix("/static/") == Some(&name));
    let asset = found.ok_or_else(|| Refusal::NoSuchAddress(Vec::new()))?;
    let answer = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.media_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
        (header::ETAG, HeaderValue::from_static("\"1\"")),
    ];
    if headers.contains_key(header::IF_NONE_MATCH) {
        return Ok((StatusCode::NOT_MODIFIED, answer).into_response());
    }
    Ok((answer, asset.bytes).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_style_is_small_and_loads_nothing_from_elsewhere() {
        for asset in ASSETS.iter() {
            let text = str::from_utf8(asset.bytes).unwrap();
            assert!(!text.contains("@import") && !text.contains("url(http"), "{}", asset.plain);
            assert!(address(asset.plain).starts_with("/static/"), "{}", asset.plain);
        }
        let style = ASSETS.iter().find(|asset| asset.plain == "style.css").unwrap();
        assert!(style.bytes.len() <= 30 * 1024, "{} bytes", style.bytes.len());
    }
}
