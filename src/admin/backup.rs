//! `slotcast admin backup` and `restore`: the database with the key that belongs to it.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use slotcast_reservation::service::Service;

use super::Outcome;
use crate::{
    config::Config,
    reservations::{DATABASE_FILE, KEY_FILE, lock_data},
};

pub(super) async fn back_up(service: &Service, config: &Config, to: &Path) -> Outcome {
    let data = data_of(config)?;
    DirBuilder::new().mode(0o700).create(to).map_err(|error| named(to, &error))?;
    service.store().back_up(&to.join(DATABASE_FILE)).await?;
    copy(&data.join(KEY_FILE), &to.join(KEY_FILE))?;
    File::open(to)?.sync_all()?;
    println!("{}: database and key are saved; keep it as safe as the server itself", to.display());
    Ok(())
}

/// Puts the files of `from` in place. What was there is renamed to end in `.before-restore`.
pub(super) fn restore(config: &Config, from: &Path) -> Outcome {
    let data = data_of(config)?;
    for name in [DATABASE_FILE, KEY_FILE] {
        let file = from.join(name);
        if !file.is_file() {
            return Err(
                format!("{}: not there: give a directory that `admin backup` made", file.display()).into()
            );
        }
    }
    DirBuilder::new().mode(0o700).recursive(true).create(&data).map_err(|error| named(&data, &error))?;
    let _alone = lock_data(&data)?;
    let kept = |name: &str| data.join(format!("{name}.before-restore"));
    if let Some(there) = [DATABASE_FILE, KEY_FILE].map(kept).into_iter().find(|path| path.exists()) {
        let text = format!("{}: an earlier restore left it: move it away first", there.display());
        return Err(text.into());
    }
    // The write-ahead log belongs to the old database: with the new one it would be read as its own.
    for name in [DATABASE_FILE, "slotcast.db-wal", "slotcast.db-shm", KEY_FILE] {
        let old = data.join(name);
        if old.exists() {
            fs::rename(&old, kept(name)).map_err(|error| named(&old, &error))?;
        }
    }
    for name in [KEY_FILE, DATABASE_FILE] {
        copy(&from.join(name), &data.join(name))?;
    }
    File::open(&data)?.sync_all()?;
    println!("{}: restored; what was there ends in .before-restore", data.display());
    Ok(())
}

fn data_of(config: &Config) -> Result<PathBuf, String> {
    match &config.reservations {
        Some(settings) if settings.database.is_none() => Ok(settings.data.clone()),
        _ => Err("this server keeps its data in PostgreSQL: use pg_dump and pg_restore, and copy secret.key"
            .into()),
    }
}

/// Copies for the owner alone, and waits until it is on the disk.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to).map_err(|error| named(from, &error))?;
    fs::set_permissions(to, Permissions::from_mode(0o600))?;
    File::open(to)?.sync_all()
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
