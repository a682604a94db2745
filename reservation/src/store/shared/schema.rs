//! Brings a database to the newest schema, and ties it to one vault.
//!
//! Refuses: a schema that is newer than this program; another vault's database.

use sqlx::{AssertSqlSafe, Transaction};

use super::{super::MIGRATIONS, Db, StoreError, Stored, Vault, fault, rows};

/// Does in `transaction` what is missing, so that a start that breaks off leaves the database as it was.
pub(in super::super) async fn make_ready(
    transaction: &mut Transaction<'_, Db>,
    vault: &Vault,
    now: i64,
) -> Stored<()> {
    let connection = &mut **transaction;
    let sql = "CREATE TABLE IF NOT EXISTS schema_versions
        (version BIGINT NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)";
    sqlx::query::<Db>(sql).execute(&mut *connection).await.map_err(fault)?;
    let sql = "SELECT coalesce(max(version), 0) FROM schema_versions";
    let row = sqlx::query::<Db>(sql).fetch_one(&mut *connection).await.map_err(fault)?;
    let (found, ours) = (rows::at::<i64>(&row, 0)?, MIGRATIONS.len() as i64);
    if found > ours {
        let text = format!(
            "its schema is version {found}, this program knows {ours}: start the newer slotcast that made it, or \
             restore a backup from before"
        );
        return Err(StoreError::Broken(text));
    }
    for (version, script) in (1..).zip(MIGRATIONS).skip(usize::try_from(found).unwrap_or(usize::MAX)) {
        sqlx::raw_sql(AssertSqlSafe(*script)).execute(&mut *connection).await.map_err(fault)?;
        let sql = "INSERT INTO schema_versions (version, applied_at) VALUES ($1, $2)";
        let note = sqlx::query::<Db>(sql).bind::<i64>(version).bind(now);
        note.execute(&mut *connection).await.map_err(fault)?;
    }
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
