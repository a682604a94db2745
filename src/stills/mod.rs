//! Stills: one picture of what is on air for each public program, a few seconds old, for pages.
//!
//! The server decodes no video. A thread keeps whole key pictures ([`gather`]), and a second one hands each to the operator's
//! `ffmpeg` ([`make`]), one process at a time.
//!
//! Owns: [`Stills`] and its threads, [`Shelf`] with the pictures, `/programs/NUMBER/still.jpg`.
//! Invariant: media never waits for anything here; a program that is not public, or not on air, shows no still from that
//! moment on; of one program at most one still is made in [`STILL_EVERY`].

mod gather;
mod make;

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{JoinHandle, Thread},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Path as InPath, State},
    http::{
        HeaderMap, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use slotcast_admission::Programs;
use slotcast_core::{
    feed::Feeds,
    media::Codec,
    time::{Clock, Now},
    words::{OpenLevel, ProgramId},
};

/// How often one program's still is made anew, at most.
const STILL_EVERY: Duration = Duration::from_secs(5);
/// A still that was taken longer ago is not shown: the broadcaster sends no key frames any more, or nothing.
const STILL_AGE_MAX: Duration = Duration::from_secs(30);
/// Key pictures that wait for the process; programs beyond these try again with a later one.
const WAITING_MAX: usize = 16;
/// How long the process may take for one picture.
const MAKING_MAX: Duration = Duration::from_secs(5);
/// That a picture could not be made is logged at most this often.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// How long a page may keep a still, in seconds.
const FRESH: &str = "public, max-age=5";
/// How urgent a still is (nice level): less than anything else here.
const NICENESS: i32 = 19;

/// One key picture on its way to the process.
struct Picture {
    program: ProgramId,
    codec: Codec,
    /// An Annex B stream that begins with its parameter sets.
    stream: Vec<u8>,
}

/// One JPEG.
#[derive(Clone)]
struct Still {
    jpeg: Bytes,
    /// Its ETag, quotes included.
    tag: String,
    /// When it was made.
    made: Instant,
}

/// The newest still of each program.
pub(crate) struct Shelf {
    programs: Arc<dyn Programs>,
    clock: Clock,
    stills: Mutex<HashMap<ProgramId, Still>>,
}

impl Shelf {
    /// Whether a still of the program may be shown now.
    fn may_show(&self, program: ProgramId, now: Now) -> bool {
        let program = self.programs.program(program);
        program.is_some_and(|program| program.open_level == OpenLevel::Public && program.is_on_air(now.wall))
    }

    fn put(&self, program: ProgramId, jpeg: Bytes) {
        let digest = Sha256::digest(&jpeg);
        let tag = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
        let still = Still { jpeg, tag: format!("\"{tag}\""), made: (self.clock)().mono };
        self.stills.lock().unwrap_or_else(PoisonError::into_inner).insert(program, still);
    }

    fn still(&self, program: ProgramId) -> Option<Still> {
        let now = (self.clock)();
        let still = self.stills.lock().unwrap_or_else(PoisonError::into_inner).get(&program).cloned()?;
        let is_shown = now.mono.duration_since(still.made) <= STILL_AGE_MAX && self.may_show(program, now);
        is_shown.then_some(still)
    }

    /// Whether [`router`] has one of the program.
    pub(crate) fn has_still(&self, program: ProgramId) -> bool {
        self.still(program).is_some()
    }

    /// Drops what may not be shown any more.
    fn clear_away(&self) {
        let now = (self.clock)();
        let mut stills = self.stills.lock().unwrap_or_else(PoisonError::into_inner);
        stills.retain(|program, still| {
            now.mono.duration_since(still.made) <= STILL_AGE_MAX && self.may_show(*program, now)
        });
    }
}

/// The two threads. Dropping it ends them: they are not waited for.
pub(crate) struct Stills {
    shelf: Arc<Shelf>,
    is_over: Arc<AtomicBool>,
    gatherer: Thread,
}

impl Stills {
    /// Makes stills of what comes over `feeds` with the program `ffmpeg`, from now on.
    ///
    /// Errors: `ffmpeg` is no program that can be run, with the next step; a thread cannot be started.
    pub(crate) fn start(
        ffmpeg: &Path,
        feeds: &Feeds,
        programs: Arc<dyn Programs>,
        clock: Clock,
    ) -> io::Result<Self> {
        make::check(ffmpeg)?;
        let shelf = Arc::new(Shelf { programs, clock, stills: Mutex::default() });
        let is_over = Arc::<AtomicBool>::default();
        let (pictures, waiting) = mpsc::sync_channel(WAITING_MAX);
        let maker = Maker { ffmpeg: ffmpeg.to_owned(), shelf: Arc::clone(&shelf), told: None };
        begin("slotcast-still", move || maker.run(&waiting))?;
        let gathering = gather::start(feeds, Arc::clone(&shelf), pictures, Arc::clone(&is_over))?;
        Ok(Self { shelf, is_over, gatherer: gathering.thread().clone() })
    }

    /// The pictures.
    pub(crate) const fn shelf(&self) -> &Arc<Shelf> {
        &self.shelf
    }
}

impl Drop for Stills {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.gatherer.unpark();
    }
}

/// Starts a thread of the lowest priority.
fn begin(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // What it starts takes after it.
        if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
            tracing::debug!(%error, "the priority of a thread for stills could not be lowered");
        }
        work();
    })
}

/// Turns pictures into stills, one after the other.
struct Maker {
    ffmpeg: PathBuf,
    shelf: Arc<Shelf>,
    told: Option<Instant>,
}

impl Maker {
    /// Until nobody gathers pictures any more.
    fn run(mut self, waiting: &mpsc::Receiver<Picture>) {
        while let Ok(picture) = waiting.recv() {
            let now = (self.shelf.clock)();
            if !self.shelf.may_show(picture.program, now) {
                continue;
            }
            let program = picture.program;
            match make::jpeg(&self.ffmpeg, picture, MAKING_MAX) {
                Ok(jpeg) => self.shelf.put(program, jpeg),
                Err(error) if self.told.is_none_or(|told| now.mono.duration_since(told) >= TELL_EVERY) => {
                    self.told = Some(now.mono);
                    let ffmpeg = self.ffmpeg.display();
                    tracing::warn!(program = program.0, %ffmpeg, %error, "no still could be made of a key frame");
                }
                Err(_) => {}
            }
        }
    }
}

/// Where pages find the stills.
pub(crate) fn router(shelf: Arc<Shelf>) -> Router {
    Router::new().route("/programs/{number}/still.jpg", get(still)).with_state(shelf)
}

async fn still(
    State(shelf): State<Arc<Shelf>>,
    InPath(number): InPath<String>,
    headers: HeaderMap,
) -> Response {
    let Some(still) = number_of(&number).and_then(|number| shelf.still(ProgramId(number))) else {
        let text = "there is no still of this program: it is not on air, or it has none\n";
        return (StatusCode::NOT_FOUND, [(CACHE_CONTROL, FRESH)], text).into_response();
    };
    let caching = [(CACHE_CONTROL, FRESH), (ETAG, still.tag.as_str())];
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|known| known.to_str().ok());
    let mut known = known.flat_map(|known| known.split(',')).map(str::trim);
    if known.any(|known| known == "*" || known.trim_start_matches("W/") == still.tag) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    let kind = [(CONTENT_TYPE, "image/jpeg"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (caching, kind, still.jpeg).into_response()
}

/// A program's number, with or without its hyphens.
fn number_of(text: &str) -> Option<u64> {
    let digits: String = text.chars().filter(|character| *character != '-').collect();
    if digits.len() > 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_with_and_without_hyphens() {
        assert_eq!(number_of("1234-5678-9012-3456"), Some(1_234_567_890_123_456));
        assert_eq!(number_of("1234567890123456"), Some(1_234_567_890_123_456));
        for wrong in ["", "+1", "12a", "99999999999999999999", "1 2", "１２"] {
            assert_eq!(number_of(wrong), None, "{wrong}");
        }
    }
}
