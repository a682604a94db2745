//! A request that waits for the edge's answer, and what an earlier answer left for it.

use crate::{headers::transport::Offer, message::Response, status::Status, url::Target};

/// A request that waits for the edge.
pub(super) struct Parked {
    /// Its `CSeq`, as it came.
    pub(super) cseq: String,
    /// Whether it brought a proof: a challenge in answer to it means that it was wrong, not missing.
    pub(super) has_proof: bool,
    /// What the answer is for.
    pub(super) question: Question,
}

/// What was asked, with what is needed to carry out the answer.
pub(super) enum Question {
    Describe(Target),
    Announce(Announcement),
    Setup(Plan),
    Play,
    Record,
}

/// A first SETUP that waits for its seat.
pub(super) struct Plan {
    pub(super) target: Target,
    pub(super) url: String,
    pub(super) offer: Offer,
}

/// What a broadcaster's accepted ANNOUNCE leaves for its SETUPs.
pub(super) struct Announcement {
    pub(super) path: String,
    /// The session's `a=control:`; empty where it has none.
    pub(super) session_control: String,
    /// `a=control:` of each track, and behind these of each section that was left out.
    pub(super) controls: Vec<String>,
}

impl Announcement {
    /// What `url` is about. A control that is an address of its own need not lie below the announced one, e.g. where a
    /// camera's description is passed on.
    ///
    /// # Errors
    /// 404: neither the announced program nor one of its tracks.
    pub(super) fn target(&self, mut target: Target, url: &str) -> Result<Target, Response> {
        if target.path != self.path && !self.controls.iter().any(|control| is_at(control, url)) {
            return Err(Response::new(Status::NOT_FOUND));
        }
        target.path.clone_from(&self.path);
        Ok(target)
    }
}

/// Whether `control` is an address of its own, with or without host, and that of `url`.
pub(super) fn is_at(control: &str, url: &str) -> bool {
    let control = control.trim_end_matches('/');
    let is_address = control.contains("://") || control.len() > 1 && control.starts_with('/');
    is_address && url.trim_end_matches('/').ends_with(control)
}
