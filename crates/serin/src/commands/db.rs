//! `serin db`: backup, check, migration, emptying the trash.

use super::say;
use super::server::open;
use crate::cli::{Db, DbCommand};
use std::io::{IsTerminal, Write};

pub(crate) async fn run(args: &Db) -> anyhow::Result<()> {
    let store = open(&args.backend, false).await?;
    match &args.command {
        DbCommand::Migrate => say("the schema is up to date"),
        DbCommand::Backup { out } => {
            store.backup(out).await?;
            say(format_args!(
                "the database is copied to {}; artifacts are not part of it: copy {} too",
                out.display(),
                store.artifacts().root()
            ));
        }
        DbCommand::Check => {
            let faults = store.check().await?;
            if !faults.is_empty() {
                anyhow::bail!("the database is damaged; restore a backup:\n  {}", faults.join("\n  "));
            }
            say("no damage found");
        }
        DbCommand::Gc { older_than, dry_run } => {
            let terminal = std::io::stderr().is_terminal();
            let mut progress = |so_far: serin_store::Collected| {
                if terminal {
                    let _ =
                        write!(std::io::stderr(), "\rremoved {} runs, {} models", so_far.runs, so_far.logged_models);
                }
            };
            let collected = store.collect_deleted(super::now_ms() - older_than, *dry_run, &mut progress).await?;
            if terminal {
                let _ = writeln!(std::io::stderr());
            }
            say(format_args!(
                "{} {} runs, {} logged models, {} experiments",
                if *dry_run { "would remove" } else { "removed" },
                collected.runs,
                collected.logged_models,
                collected.experiments
            ));
        }
    }
    Ok(())
}
