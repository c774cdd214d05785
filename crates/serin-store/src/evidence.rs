//! What data planes counted of a release, each by its own name.

use crate::sql::args;
use crate::{Store, StoreError};

impl Store {
    /// Keeps what a replica counted, unless a later word of it is known, and answers what the other ones counted. `release` names
    /// the versions.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn share_evidence(
        &self,
        model: &str,
        release: &str,
        replica: &str,
        sequence: i64,
        counts: &str,
    ) -> Result<Vec<String>, StoreError> {
        let [model, release, replica, counts] = [model, release, replica, counts].map(str::to_owned);
        self.write(move |connection| {
            Box::pin(async move {
                let sql = "INSERT INTO serin_evidence (model_name, release, replica, sequence, counts) VALUES ($1, $2, $3, $4, $5) \
                           ON CONFLICT (model_name, release, replica) DO UPDATE SET sequence = excluded.sequence, counts = excluded.counts \
                           WHERE serin_evidence.sequence < excluded.sequence";
                connection.execute(sql, args![&model, &release, &replica, sequence, counts]).await?;
                let sql = "SELECT counts FROM serin_evidence WHERE model_name = $1 AND release = $2 AND replica <> $3 ORDER BY replica";
                let rows = connection.rows(sql, args![&model, &release, &replica]).await?;
                rows.iter().map(|row| row.text(0)).collect()
            })
        })
        .await
    }
}
