//! Mails as files `KEY.eml` in a folder: where no mail server is named, and for tests.
//!
//! Invariant: a file under its final name is whole and on the disk; a key has at most one. Only the owner can read them:
//! they hold reservation IDs.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use lettre::Message;
use parking_lot::Mutex;

use super::{MailError, Post, PostError, is_key};

/// A folder of mails.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    /// One writer at a time: two of the same key would share the temporary file.
    writing: Arc<Mutex<()>>,
}

impl Folder {
    /// The folder at `path`, made where it is missing.
    pub fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(Self { path: path.to_owned(), writing: Arc::default() })
    }

    fn write(&self, key: &str, bytes: &[u8]) -> io::Result<()> {
        let _alone = self.writing.lock();
        let place = self.path.join(format!("{key}.eml"));
        if place.try_exists()? {
            return Ok(());
        }
        let draft = self.path.join(format!(".{key}.draft"));
        // Left by a crash: never seen under its final name.
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, &place)?;
        File::open(&self.path)?.sync_all()
    }
}

#[async_trait]
impl Post for Folder {
    async fn send(&self, message: &Message, key: &str) -> Result<(), PostError> {
        if !is_key(key) {
            return Err(PostError::Permanent(MailError::Key.to_string()));
        }
        let (folder, key, bytes) = (self.clone(), key.to_owned(), message.formatted());
        let name = key.clone();
        let written = tokio::task::spawn_blocking(move || folder.write(&key, &bytes)).await;
        match written {
            Ok(Ok(())) => Ok(()),
            // A full disk or a lost right can be mended.
            Ok(Err(error)) => Err(PostError::Temporary(format!("{name}.eml: {error}"))),
            Err(_) => Err(PostError::Temporary(format!("{name}.eml: the writer was stopped"))),
        }
    }
}
