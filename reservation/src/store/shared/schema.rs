//! Brings a database to the newest schema, and ties it to one vault.
//!
//! Refuses: a schema that is newer than this program; another vault's database.

use sqlx::{
    SqlStr, Transaction,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use super::{
    super::{MIGRATIONS, OLD_VERSIONS},
    Db, StoreError, Stored, Vault, fault, rows,
};

/// Does in `transaction` what is missing, so that a start that breaks off leaves the database as it was.
pub(in super::super) async fn make_ready(transaction: &mut Transaction<'_, Db>, vault: &Vault) -> Stored<()> {
    let connection = &mut **transaction;
    let migrator = migrator();
    // Databases of the first versions counted their migrations in a table of their own.
    if number(connection, OLD_VERSIONS).await? > 0 {
        let applied = number(connection, "SELECT coalesce(max(version), 0) FROM schema_versions").await?;
        migrator.run_direct(Some(applied), connection, true).await.map_err(of_migration)?;
        run(connection, "DROP TABLE schema_versions").await?;
    }
    migrator.run_direct(None, connection, false).await.map_err(of_migration)?;
    let sql =
        "INSERT INTO server (one, vault_marker, schedule_revision) VALUES (1, $1, 1) ON CONFLICT DO NOTHING";
    let marker = vault.marker().to_vec();
    sqlx::query::<Db>(sql).bind(marker.clone()).execute(&mut *connection).await.map_err(fault)?;
    let row = sqlx::query::<Db>("SELECT vault_marker FROM server")
        .fetch_one(&mut *connection)
        .await
        .map_err(fault)?;
    if rows::at::<Vec<u8>>(&row, 0)? != marker {
        let text = "it was made with another secret.key: put back the secret.key that belongs to it";
        return Err(StoreError::Broken(text.to_owned()));
    }
    Ok(())
}

/// Those that are to be there, in order. The caller sees to it that one program at a time carries them out.
fn migrator() -> Migrator {
    let migration = |(version, (name, script)): (i64, &(&'static str, &'static str))| {
        Migration::new(version, (*name).into(), MigrationType::Simple, SqlStr::from_static(script), false)
    };
    let mut migrator = Migrator::with_migrations((1..).zip(MIGRATIONS).map(migration).collect());
    migrator.set_locking(false);
    migrator
}

async fn number(connection: &mut <Db as sqlx::Database>::Connection, sql: &'static str) -> Stored<i64> {
    let row = sqlx::query::<Db>(sql).fetch_one(connection).await.map_err(fault)?;
    rows::at(&row, 0)
}

async fn run(connection: &mut <Db as sqlx::Database>::Connection, sql: &'static str) -> Stored<()> {
    sqlx::query::<Db>(sql).execute(connection).await.map_err(fault).map(drop)
}

fn of_migration(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => fault(error),
        MigrateError::VersionMissing(found) => StoreError::Broken(format!(
            "its schema is version {found}, this program knows {}: start the newer slotcast that made it, or restore a \
             backup from before",
            MIGRATIONS.len()
        )),
        other => StoreError::Broken(other.to_string()),
    }
}
