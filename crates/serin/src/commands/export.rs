//! `serin export`, and the same as a job beside the scoring server.

use super::replay::{files, range};
use super::{now_ms, progress, say};
use crate::cli::{Export, Reasons, State};
use crate::registry::RegistryWhenAsked;
use anyhow::bail;
use serin_artifacts::Artifacts;
use serin_batch::export::{self, ExportError, Exporter, export_sealed, whole_hours};
use serin_http::with_causes;
use serin_scorer::environment::s3_settings;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time between two passes over the sealed segments.
const EVERY: Duration = Duration::from_secs(15);

pub(crate) async fn run(args: &Export) -> anyhow::Result<()> {
    let files = files(&args.logged)?;
    let times_ms = whole_hours(range(&args.logged));
    let mut exporter = exporter(&args.out, args.reasons, &args.logged.state)?;
    let segments = files.segments()?;
    let bar = progress::bar("exporting", segments.len() as u64);
    let (mut rows, mut written) = (0, 0);
    for segment in &segments {
        let exported = exporter.export(&files, segment, times_ms.clone()).await?;
        (rows, written) = (rows + exported.rows, written + exported.files.len());
        bar.inc(1);
    }
    bar.finish_and_clear();
    if rows == 0 {
        bail!("the log has no decision in that time");
    }
    say(format_args!("{rows} decisions in {written} Parquet files below {}", args.out));
    Ok(())
}

/// Exports what is sealed, now and every so often.
pub(crate) async fn keep_exporting(log: PathBuf, out: String, reasons: Reasons, state: State) {
    loop {
        if let Err(error) = export_sealed(&log, &out, || exporter(&out, reasons, &state)).await {
            let error = with_causes(&error);
            tracing::warn!("decisions are not exported to {out}, and will be tried again: {error}");
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Opens a folder, or `s3://bucket/prefix`, to export to.
fn exporter(out: &str, reasons: Reasons, state: &State) -> Result<Exporter<RegistryWhenAsked>, ExportError> {
    let destination = match out.starts_with("s3://") {
        true => Artifacts::s3(out, s3_settings())?,
        false => Artifacts::local(Path::new(out))?,
    };
    let reasons = match reasons {
        Reasons::None => export::Reasons::None,
        Reasons::Alerts => export::Reasons::Alerts,
        Reasons::All => export::Reasons::All,
    };
    Ok(Exporter::new(destination, RegistryWhenAsked::of(state), reasons, now_ms()))
}
