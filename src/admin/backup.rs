//! `slotcast admin backup` and `restore`: the database with the key that belongs to it.
//!
//! Invariant: a backup has its name, and a restored file its place, only once all of it is on the disk.

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

/// Saves into the directory `to`, which must not be there yet. It has that name only once it is whole.
pub(super) async fn back_up(service: &Service, config: &Config, to: &Path) -> Outcome {
    let data = data_of(config)?;
    if to.exists() {
        return Err(format!("{}: it is there already: name a new directory", to.display()).into());
    }
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    DirBuilder::new().mode(0o700).create(&partial).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            let left = "a backup is being made, or one was broken off: then remove it";
            io::Error::new(error.kind(), format!("{}: {left}", partial.display()))
        }
        _ => named(&partial, &error),
    })?;
    if let Err(error) = save(service, &data, &partial).await {
        fs::remove_dir_all(&partial).map_err(|error| named(&partial, &error))?;
        return Err(format!("{}: not saved: {error}", to.display()).into());
    }
    fs::rename(&partial, to).map_err(|error| named(to, &error))?;
    println!("{}: database and key are saved; keep it as safe as the server itself", to.display());
    Ok(())
}

async fn save(service: &Service, data: &Path, to: &Path) -> Outcome {
    service.store().back_up(&to.join(DATABASE_FILE)).await?;
    copy(&data.join(KEY_FILE), &to.join(KEY_FILE))?;
    File::open(to)?.sync_all()?;
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
    // All of it is here before anything is moved.
    let arrived = |name: &str| data.join(format!("{name}.restored"));
    for name in [KEY_FILE, DATABASE_FILE] {
        if let Err(error) = copy(&from.join(name), &arrived(name)) {
            for half in [KEY_FILE, DATABASE_FILE].map(arrived).iter().filter(|half| half.exists()) {
                fs::remove_file(half).map_err(|error| named(half, &error))?;
            }
            return Err(format!("nothing was restored: {error}").into());
        }
    }
    // The write-ahead log belongs to the old database: with the new one it would be read as its own.
    for name in [DATABASE_FILE, "slotcast.db-wal", "slotcast.db-shm", KEY_FILE] {
        let old = data.join(name);
        if old.exists() {
            fs::rename(&old, kept(name)).map_err(|error| named(&old, &error))?;
        }
    }
    for name in [KEY_FILE, DATABASE_FILE] {
        fs::rename(arrived(name), data.join(name)).map_err(|error| named(&arrived(name), &error))?;
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
