//! `serin serve`: load a model, answer, follow the registry, drain on SIGTERM.

use crate::canary_file;
use crate::last_good::LastGood;
use crate::listening::{DRAIN, Shutdown, bind};
use crate::options::{FallbackOptions, LogFull, Serve, State};
use crate::panes::Panes;
use crate::registry::{Registry, RolloutRegistry};
use crate::{file_name, now_ms, say};
use anyhow::Context;
use axum::Router;
use futures_util::future::BoxFuture;
use serin_decisions::{DecisionFiles, DecisionLog, LogLimits, PARQUET_EXPORTER};
use serin_gateway::{
    DataPlane, DecisionKeeping, FallbackPolicy, FallbackStep, LiveMonitor, ModelSlot, Models, Release, Releasing,
    Shadow, WhenFull, data_plane,
};
use serin_http::{ApiKeys, Connections, Limits, Tls, Workers};
use serin_models::{LoadError, LoadedModel};
use serin_scoring::Rules;
use serin_tracking::{ModelUri, ResolvedModel};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// What a program has beside the scoring server: the small one has little, the full one everything.
pub trait Surroundings: Sync {
    /// Opens the registry that the options name.
    fn registry<'a>(&'a self, state: &'a State) -> BoxFuture<'a, anyhow::Result<Arc<dyn Registry>>>;
    /// Routes beside the scoring server's own, such as `/docs`.
    fn pages(&self) -> Router;
    /// The job that writes the decision log `log` as Parquet to `out` for as long as it runs.
    ///
    /// # Errors
    /// Where the program cannot write Parquet, with the way out.
    fn export(&self, log: PathBuf, out: &str, args: &Serve) -> anyhow::Result<BoxFuture<'static, ()>>;
}

/// Folder of the decision log in the state folder.
pub const DECISIONS: &str = "decisions";

/// Serves until SIGTERM or Ctrl-C, then lets requests under way end.
///
/// # Errors
/// When the server cannot start.
pub async fn run(args: &Serve, surroundings: &dyn Surroundings) -> anyhow::Result<()> {
    let serving = start(args, surroundings).await?;
    let shutdown = Shutdown::catch()?;
    say(format_args!("serving {} on {serving} (API: /docs)", args.model.join(", ")));
    shutdown.requested().await;
    serving.stop().await;
    Ok(())
}

/// A scoring server that answers and follows the registry.
#[derive(Debug)]
pub struct Serving {
    /// Address that it listens on.
    pub address: SocketAddr,
    scheme: &'static str,
    workers: Workers,
    followers: Vec<tokio::task::JoinHandle<()>>,
    monitor: Option<Arc<LiveMonitor>>,
    release: Option<Release>,
}

impl std::fmt::Display for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", self.scheme, self.address)
    }
}

impl Serving {
    /// Takes no new connections, lets requests under way end, and returns.
    pub async fn stop(self) {
        self.followers.iter().for_each(tokio::task::JoinHandle::abort);
        if !self.workers.stop(DRAIN).await {
            tracing::warn!("requests were still under way {} s after the stop; closing them", DRAIN.as_secs());
        }
        if let Some(release) = self.release {
            let stopped = tokio::task::spawn_blocking(move || release.stop()).await;
            debug_assert!(stopped.is_ok());
        }
        if let Some(monitor) = self.monitor {
            let stopped = tokio::task::spawn_blocking(move || monitor.stop()).await;
            debug_assert!(stopped.is_ok());
        }
    }
}

/// Starts a scoring server.
///
/// # Errors
/// When a model, a file or the address that the options name cannot be used, with which one and the way out.
pub async fn start(args: &Serve, surroundings: &dyn Surroundings) -> anyhow::Result<Serving> {
    let parse = |uris: &[String]| uris.iter().map(|uri| uri.parse::<ModelUri>()).collect::<Result<Vec<_>, _>>();
    let mut uris = parse(&args.model).context("--model")?;
    let answering = uris.len();
    uris.extend(parse(&args.shadow).context("--shadow")?);
    // A model given by path needs no registry, and leaves no state folder behind.
    let registry = if uris.iter().all(|uri| matches!(uri, ModelUri::Path(_))) {
        None
    } else {
        Some(surroundings.registry(&args.state).await?)
    };
    let fallback = Arc::new(policy(&args.fallback)?);
    let keeper = Keeper {
        fallback: Arc::clone(&fallback),
        last_good: registry.as_ref().filter(|_| !fallback.0.is_empty()).map(|_| LastGood::of(&args.state.state)),
    };
    let (mut slots, mut loaded) = (Vec::new(), Vec::new());
    for (number, uri) in uris.iter().enumerate() {
        let slot = Arc::new(ModelSlot::new(name_of(uri), uri.to_string()));
        let fetch = async || {
            let resolved = resolve(registry.as_deref(), uri).await?;
            let switched = keeper.switch(&slot, &resolved);
            anyhow::Ok((switched, resolved))
        };
        let mut first = fetch().await;
        if let (Ok((Err(error), resolved)), Some(registry)) = (&first, &registry)
            && !error.is_passing()
        {
            // A copy that broke on its way is fetched anew.
            registry.forget(resolved);
            first = fetch().await;
        }
        match first.and_then(|(switched, resolved)| Ok((switched?, resolved))) {
            Ok((model, resolved)) => {
                loaded.resize(number, None);
                loaded.push(Some(resolved));
                tracing::info!(model = model.name, version = model.version, path = %model.package.forest.path(), sha256 = model.package.model_sha256, "model loaded");
            }
            // A candidate must not keep the live model from answering.
            Err(error) if number >= answering => tracing::error!("candidate {uri} is not loaded: {error:#}"),
            Err(error) if keeper.fall_back_to_last(&slot) => {
                tracing::error!("{uri} cannot be loaded, so --fallback answers: {error:#}");
            }
            Err(error) if args.wait_for_model => tracing::warn!("no model yet: {error:#}"),
            Err(error) => return Err(error),
        }
        slots.push(slot);
    }
    let models = Models::new(slots[..answering].to_vec()).context("--model")?;
    let folder = log_folder(args, registry.is_some());
    let decisions = folder.as_deref().map(|folder| open_log(args, folder)).transpose()?;
    let released = args.canary.as_deref().map(|file| released(args, file, &uris[0])).transpose()?;
    let mut candidates = slots[answering..].to_vec();
    candidates.extend(released.as_ref().map(|(_, slot, _)| Arc::clone(slot)));
    let shadow = match &candidates[..] {
        [] => None,
        _ => Some(Shadow::start(candidates, decisions.as_ref().map(|keeping| Arc::clone(&keeping.log)))?),
    };
    let release = match (released, &shadow, &registry) {
        (Some((rules, candidate, uri)), Some(shadow), Some(registry)) => {
            let name = slots[0].name().to_owned();
            let releasing = Releasing {
                canary: rules.canary,
                templates: rules.templates,
                providers: rules.providers,
                shortest_ms: if args.fast_canary { 50 } else { 10_000 },
                stable: Arc::clone(&slots[0]),
                candidate,
                shadow: Arc::clone(shadow),
                registrar: Arc::new(RolloutRegistry {
                    registry: Arc::clone(registry),
                    live: uris[0].clone(),
                    candidate: uri,
                    name: name.clone(),
                }),
                file: args.state.state.join("rollout").join(format!("{}.json", file_name(&name))),
                place: place_of(&args.state.state),
                clock: now_ms,
            };
            Some(Release::start(releasing).map_err(anyhow::Error::msg).context("--canary")?)
        }
        _ => None,
    };
    let monitor = registry.clone().map(|registry| watch(args, registry)).transpose()?;
    let keys = match &args.api_key_file {
        None => None,
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            let keys = ApiKeys::parse(&text);
            Some(keys.with_context(|| format!("--api-key-file {}", file.display()))?)
        }
    };
    let limits = Limits { body_bytes: args.max_body_bytes, rows: args.max_rows };
    let state = DataPlane {
        models,
        decisions,
        ids: Arc::default(),
        shadow,
        release: release.clone(),
        monitor: monitor.clone(),
        exploration: args.explore,
        fallback,
        deadline: args.fallback.deadline.map(|seconds| Duration::from_secs_f64(seconds.clamp(1e-6, 3600.0))),
        max_event_age_ms: args.max_event_age,
        keys,
        clock: now_ms,
        limits,
        metrics: Arc::default(),
    };
    let connections = Connections {
        threads: args.threads.unwrap_or(Connections::default().threads),
        most: args.max_connections,
        head: Duration::from_secs_f64(args.header_timeout.clamp(0.1, 3600.0)),
        request: Duration::from_secs_f64(args.request_timeout.clamp(0.1, 3600.0)),
    };
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => {
            Some(Arc::new(Tls::open(certificate, key).map_err(anyhow::Error::msg).context("TLS")?))
        }
        _ => None,
    };
    let listener = bind(args.host, args.port)?;
    let workers = Workers::start(
        listener,
        &data_plane(state, surroundings.pages(), connections.request),
        connections,
        tls.as_ref(),
    );
    let workers = workers.context("cannot start the server's threads")?;
    let every = Duration::from_secs_f64(args.poll.clamp(0.05, 3600.0));
    let mut followers = registry.map_or_else(Vec::new, |registry| {
        loaded.resize(slots.len(), None);
        let all = uris.into_iter().zip(slots).zip(loaded);
        let followed = all.filter(|((uri, _), _)| !matches!(uri, ModelUri::Path(_)));
        followed
            .map(|((uri, slot), loaded)| {
                let followed = Followed { uri, slot, loaded };
                tokio::spawn(follow(Arc::clone(&registry), followed, keeper.clone(), every))
            })
            .collect::<Vec<_>>()
    });
    followers.extend(export(args, folder, surroundings)?);
    let scheme = if tls.is_some() { "https" } else { "http" };
    followers.extend(tls.map(|tls| tokio::spawn(renew(tls, every))));
    Ok(Serving { scheme, address: workers.address, workers, followers, monitor, release })
}

/// Watches what models see, into the registry's database.
fn watch(args: &Serve, registry: Arc<dyn Registry>) -> anyhow::Result<Arc<LiveMonitor>> {
    let sink = Panes { registry, runtime: tokio::runtime::Handle::current(), told: AtomicBool::new(false) };
    let every = Duration::from_secs_f64(args.monitor_every.clamp(0.1, 3600.0));
    LiveMonitor::start(Box::new(sink), every).context("the monitor")
}

fn policy(options: &FallbackOptions) -> anyhow::Result<FallbackPolicy> {
    let step = |text: &String| match text.trim() {
        "last-good" => Ok(FallbackStep::LastGood),
        "allow" => Ok(FallbackStep::Allow),
        "decline" => Ok(FallbackStep::Decline),
        other => match other.strip_prefix("rules:") {
            Some(file) => {
                let text = std::fs::read(file).with_context(|| format!("--fallback: cannot read {file}"))?;
                let rules = Rules::from_bytes(&text);
                Ok(FallbackStep::Rules(rules.with_context(|| format!("--fallback {file}"))?))
            }
            None => anyhow::bail!("--fallback {other:?}: there are last-good, rules:FILE, allow and decline"),
        },
    };
    Ok(FallbackPolicy(options.fallback.iter().map(step).collect::<anyhow::Result<_>>()?))
}

/// Switches models and keeps copies of those that were good.
#[derive(Debug, Clone)]
struct Keeper {
    fallback: Arc<FallbackPolicy>,
    last_good: Option<LastGood>,
}

impl Keeper {
    fn switch(&self, slot: &ModelSlot, resolved: &ResolvedModel) -> Result<Arc<LoadedModel>, LoadError> {
        let model = slot.switch_to(resolved, now_ms())?;
        self.fallback.check(&model);
        if let Some(last_good) = &self.last_good
            && let Err(error) = last_good.save(slot.name(), resolved)
        {
            tracing::warn!("no copy of {} is kept for bad days: {error:#}", slot.name());
        }
        Ok(model)
    }

    /// Whether the fallback can answer with the copy.
    fn fall_back_to_last(&self, slot: &ModelSlot) -> bool {
        let Some(resolved) = self.last_good.as_ref().and_then(|kept| kept.find(slot.name())) else { return false };
        match slot.keep(&resolved, now_ms()) {
            Ok(model) => {
                tracing::warn!("version {} of {} is the last good one", model.version, model.name);
                self.fallback.check(&model);
                true
            }
            Err(error) => {
                tracing::error!("the last good model cannot be loaded either: {error}");
                false
            }
        }
    }
}

/// The job that writes the log as Parquet.
fn export(
    args: &Serve,
    log: Option<PathBuf>,
    surroundings: &dyn Surroundings,
) -> anyhow::Result<Option<tokio::task::JoinHandle<()>>> {
    let Some(out) = &args.log.export_decisions else {
        // Retention waits for no export that does not run any more.
        if let Some(log) = log {
            DecisionFiles::of(&log).forget_exporter(PARQUET_EXPORTER)?;
        }
        return Ok(None);
    };
    let Some(log) = log else { anyhow::bail!("--export-decisions needs a decision log: name one with --decision-log") };
    Ok(Some(tokio::spawn(surroundings.export(log, out, args)?)))
}

/// Takes a renewed certificate into use.
async fn renew(tls: Arc<Tls>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        match tls.refresh() {
            Ok(false) => {}
            Ok(true) => tracing::info!("the certificate was read again: {tls:?}"),
            Err(error) => tracing::error!("a changed certificate is not used, the one before stays: {error}"),
        }
    }
}

/// Rules of a release, where its candidates are loaded, and which version that is.
fn released(
    args: &Serve,
    file: &Path,
    live: &ModelUri,
) -> anyhow::Result<(canary_file::Rules, Arc<ModelSlot>, ModelUri)> {
    let rules = canary_file::read(file)?;
    let ignored = rules.canary.ignored();
    if !ignored.is_empty() {
        tracing::info!("{}: without effect outside a cluster: {}", file.display(), ignored.join(", "));
    }
    let (ModelUri::Alias(name, _) | ModelUri::Stage(name, _)) = live else {
        anyhow::bail!(
            "--canary moves an alias or a stage: serve models:/NAME@champion or models:/NAME/Production, not {live}"
        );
    };
    let candidate = match &args.candidate {
        Some(uri) => uri.parse().context("--candidate")?,
        None => ModelUri::Alias(name.clone(), "challenger".to_owned()),
    };
    let slot = Arc::new(ModelSlot::new(name.clone(), candidate.to_string()));
    slot.rest();
    Ok((rules, slot, candidate))
}

/// Name of this machine and path of a folder on it. A copy of the folder has another one.
fn place_of(folder: &Path) -> String {
    let path = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    format!("{}:{}", rustix::system::uname().nodename().to_string_lossy(), path.display())
}

/// What requests call the model.
fn name_of(uri: &ModelUri) -> String {
    match uri {
        ModelUri::Version(name, _) | ModelUri::Stage(name, _) | ModelUri::Alias(name, _) | ModelUri::Latest(name) => {
            name.clone()
        }
        ModelUri::Run(_, path) => path.rsplit('/').next().unwrap_or_default().to_owned(),
        ModelUri::Path(path) => path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
    }
}

fn log_folder(args: &Serve, in_state: bool) -> Option<PathBuf> {
    let options = &args.log;
    let own = || (in_state && !options.no_decision_log).then(|| args.state.state.join(DECISIONS));
    options.decision_log.clone().or_else(own)
}

fn open_log(args: &Serve, folder: &Path) -> anyhow::Result<DecisionKeeping> {
    let options = &args.log;
    let limits =
        LogLimits { keep_ms: options.keep_decisions, keep_bytes: options.keep_decision_bytes, ..LogLimits::default() };
    let (log, recovered) = DecisionLog::open(folder, limits, now_ms)
        .with_context(|| format!("cannot write the decision log {}", folder.display()))?;
    recovered.report.warn();
    if recovered.segments > 0 || recovered.torn_bytes > 0 {
        tracing::warn!(
            "the decision log was not closed: {} segments sealed, {} bytes of unfinished records cut",
            recovered.segments,
            recovered.torn_bytes
        );
    }
    let when_full = match options.decision_log_full {
        LogFull::Refuse => WhenFull::Refuse,
        LogFull::DropAndCount => WhenFull::DropAndCount,
    };
    Ok(DecisionKeeping { log, when_full })
}

async fn resolve(registry: Option<&dyn Registry>, uri: &ModelUri) -> anyhow::Result<ResolvedModel> {
    match (registry, uri) {
        (_, ModelUri::Path(path)) => Ok(ResolvedModel { name: None, version: None, path: path.clone() }),
        (Some(registry), uri) => Ok(registry.resolve(uri).await?),
        (None, _) => anyhow::bail!("{uri} needs a registry"),
    }
}

/// Most times that a model is fetched before it counts as refused.
const FETCHES: u32 = 3;

/// Model of a URI that is followed, and the slot that it is loaded into.
struct Followed {
    uri: ModelUri,
    slot: Arc<ModelSlot>,
    /// Model that the slot holds. Which one the URI names by now is another question.
    loaded: Option<ResolvedModel>,
}

/// Swaps the model when the URI names another one than is loaded. One that is refused is tried again when it changes,
/// one that cannot be read at every look.
async fn follow(registry: Arc<dyn Registry>, followed: Followed, keeper: Keeper, every: Duration) {
    let Followed { uri, slot, loaded: mut seen } = followed;
    let (mut away, mut refusals) = (false, 0);
    loop {
        tokio::time::sleep(every).await;
        let resolved = match registry.resolve(&uri).await {
            Ok(resolved) => resolved,
            Err(error) => {
                if !std::mem::replace(&mut away, true) {
                    tracing::warn!("cannot look up {uri}, the loaded model keeps answering: {error}");
                }
                continue;
            }
        };
        away = false;
        if seen.as_ref() == Some(&resolved) {
            continue;
        }
        let (candidate, keeper) = (Arc::clone(&slot), keeper.clone());
        let wanted = resolved.clone();
        match tokio::task::spawn_blocking(move || keeper.switch(&candidate, &wanted)).await {
            Ok(Ok(model)) => tracing::info!(model = model.name, version = model.version, "model switched"),
            Ok(Err(error)) if error.is_passing() => {
                tracing::error!(
                    "the model cannot be read, and is tried again; the one before keeps answering: {error}"
                );
                continue;
            }
            Ok(Err(error)) => {
                tracing::error!("model refused, the one before keeps answering: {error}");
                // A copy that broke on its way is fetched anew; one that is refused again and again is broken at its source.
                registry.forget(&resolved);
                refusals += 1;
                if refusals < FETCHES {
                    continue;
                }
            }
            Err(error) => {
                tracing::error!("loading a model failed, and is tried again: {error}");
                continue;
            }
        }
        (seen, refusals) = (Some(resolved), 0);
    }
}
