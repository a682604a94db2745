//! `slotcast admin backup` and `restore`: the database with the key that belongs to it.
//!
//! Invariant: a backup has its name, and a restored file its place, only once all of it is on the disk; a restore that was
//! broken off leaves a file that ends in `.restored`, beside which no server starts, and can be made again.

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
    reservations::{DATABASE_FILE, KEY_FILE, lock_data, restored},
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
    sync(to)?;
    Ok(())
}

/// Puts the files of `from` in place. What was there is renamed to end in `.before-restore`; after a restore that was
/// broken off, what that one has renamed stays.
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
    let was_broken_off = RESTORED.map(|name| restored(&data, name)).iter().any(|half| half.exists());
    let there =
        [DATABASE_FILE, KEY_FILE].map(|name| kept(&data, name)).into_iter().find(|path| path.exists());
    if let Some(there) = there.filter(|_| !was_broken_off) {
        let text = format!("{}: an earlier restore left it: move it away first", there.display());
        return Err(text.into());
    }
    // All of it is here before anything is moved.
    for name in RESTORED {
        if let Err(error) = copy(&from.join(name), &restored(&data, name)) {
            if was_broken_off {
                return Err(format!("the restore that was broken off is not complete yet: {error}").into());
            }
            for half in RESTORED.map(|name| restored(&data, name)).iter().filter(|half| half.exists()) {
                fs::remove_file(half).map_err(|error| named(half, &error))?;
            }
            return Err(format!("nothing was restored: {error}").into());
        }
    }
    let renames = renames(&data);
    sync(&data)?;
    for (old, new) in &renames {
        fs::rename(old, new).map_err(|error| named(old, &error))?;
        // In this order on the disk, too: the last `.restored` goes when all else is done.
        sync(&data)?;
    }
    println!("{}: restored; what was there ends in .before-restore", data.display());
    Ok(())
}

/// What a restore brings, in the order in which it is put in place.
const RESTORED: [&str; 2] = [KEY_FILE, DATABASE_FILE];

/// Under which name the old file `name` is kept.
fn kept(data: &Path, name: &str) -> PathBuf {
    data.join(format!("{name}.before-restore"))
}

/// First the old files go aside, then the new ones take their places. What a broken-off restore has put aside is not
/// written over.
fn renames(data: &Path) -> Vec<(PathBuf, PathBuf)> {
    // The write-ahead log belongs to the old database: with the new one it would be read as its own.
    let aside = [DATABASE_FILE, "slotcast.db-wal", "slotcast.db-shm", KEY_FILE]
        .map(|name| (data.join(name), kept(data, name)))
        .into_iter()
        .filter(|(old, kept)| old.exists() && !kept.exists());
    let into_place = RESTORED.map(|name| (restored(data, name), data.join(name)));
    aside.chain(into_place).collect()
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A data directory with old files, a backup with new ones, and the configuration.
    fn place(room: &Path) -> (PathBuf, PathBuf, Config) {
        let (data, backup) = (room.join("data"), room.join("backup"));
        for (directory, text) in [(&data, "old"), (&backup, "new")] {
            fs::create_dir(directory).unwrap();
            for name in RESTORED {
                fs::write(directory.join(name), format!("{text} {name}")).unwrap();
            }
        }
        fs::write(data.join("slotcast.db-wal"), "old log").unwrap();
        let mut config = Config::parse("[reservations]\nenabled = true\n").unwrap().config;
        config.reservations.as_mut().unwrap().data.clone_from(&data);
        (data, backup, config)
    }

    #[test]
    fn a_restore_that_was_broken_off_anywhere_can_be_made_again() {
        let mut broken_off = 0;
        for done in 0.. {
            let room = tempfile::tempdir().unwrap();
            let (data, backup, config) = place(room.path());
            for name in RESTORED {
                copy(&backup.join(name), &restored(&data, name)).unwrap();
            }
            let steps = renames(&data);
            if done == steps.len() {
                break;
            }
            for (old, new) in steps.into_iter().take(done) {
                fs::rename(old, new).unwrap();
            }
            assert!(
                RESTORED.iter().any(|name| restored(&data, name).exists()),
                "{done}: a server would start"
            );
            restore(&config, &backup).unwrap();
            for name in RESTORED {
                assert_eq!(fs::read_to_string(data.join(name)).unwrap(), format!("new {name}"), "{done}");
                assert_eq!(fs::read_to_string(kept(&data, name)).unwrap(), format!("old {name}"), "{done}");
                assert!(!restored(&data, name).exists(), "{done}");
            }
            assert!(!data.join("slotcast.db-wal").exists() && kept(&data, "slotcast.db-wal").exists());
            broken_off += 1;
        }
        assert_eq!(broken_off, 5);
    }

    #[test]
    fn what_an_earlier_restore_kept_is_not_written_over() {
        let room = tempfile::tempdir().unwrap();
        let (_, backup, config) = place(room.path());
        restore(&config, &backup).unwrap();
        let again = restore(&config, &backup).unwrap_err().to_string();
        assert!(again.contains("an earlier restore left it"), "{again}");
    }
}
