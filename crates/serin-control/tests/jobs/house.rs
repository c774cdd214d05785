//! A tracking server without a network: its database, its clock, models with a reference, traffic by the hour.

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use serin_analysis::monitor::{MonitorProfile, Pane, ReferenceRows, Watched};
use serin_control::{
    ControlPlane, DataPlanes, Jobs, Launcher, Monitoring, Policy, Settings, WebhookPolicy, Webhooks, control_plane,
};
use serin_decisions::{DecidingModel, NewDecision};
use serin_store::{NewModelVersion, NewRun, Store};
use serin_tracking::{Change, StoredPane};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use tower_service::Service;

pub(crate) const HOUR: i64 = 3_600_000;
pub(crate) const DAY: i64 = 24 * HOUR;
/// A Monday, midnight (2025-11-24).
pub(crate) const MONDAY: i64 = 1_763_942_400_000;

/// Clock of one test.
#[derive(Clone, Copy)]
pub(crate) struct TestClock {
    pub(crate) at: &'static AtomicI64,
    pub(crate) read: fn() -> i64,
}

impl TestClock {
    pub(crate) fn now(self) -> i64 {
        self.at.load(Ordering::SeqCst)
    }

    pub(crate) fn set(self, at_ms: i64) {
        self.at.store(at_ms, Ordering::SeqCst);
    }

    pub(crate) fn pass(self, ms: i64) {
        self.at.fetch_add(ms, Ordering::SeqCst);
    }
}

/// A clock of the test's own, at noon of [`MONDAY`].
macro_rules! clock {
    () => {{
        static NOW: std::sync::atomic::AtomicI64 =
            std::sync::atomic::AtomicI64::new(crate::house::MONDAY + 12 * crate::house::HOUR);
        fn read() -> i64 {
            NOW.load(std::sync::atomic::Ordering::SeqCst)
        }
        crate::house::TestClock { at: &NOW, read }
    }};
}
pub(crate) use clock;

/// One server process on a state folder.
pub(crate) struct House {
    pub(crate) store: Store,
    pub(crate) clock: TestClock,
    router: Router,
    state: ControlPlane,
}

/// Folder of the decision log in a state folder.
pub(crate) fn log_of(folder: &Path) -> PathBuf {
    folder.join("decisions")
}

/// Decision of the version 1 of some model, with one feature; the event happened at `event_time_ms`.
pub(crate) fn decision(id: [u8; 16], transaction_id: &str, event_time_ms: i64) -> NewDecision<'_> {
    NewDecision {
        id,
        transaction_id,
        entity: "",
        event_time_ms: Some(event_time_ms),
        features: &[0.5],
        score: 0.5,
        alert: false,
        propensity: None,
        fallback: None,
        assigned: None,
        latency_ns: 0,
    }
}

/// Version 1 of a model in the decision log; `number` tells its file from those of others.
pub(crate) fn deciding(model: &str, number: u8) -> Arc<DecidingModel> {
    let (name, version) = (model.to_owned(), "1".to_owned());
    Arc::new(DecidingModel { name, version, sha256: [number; 32], threshold: 0.9, width: 1 })
}

impl House {
    /// Opens the server on a state folder, as after a start or a restart.
    pub(crate) async fn open(folder: &Path, clock: TestClock, settings: Value) -> Self {
        let store = Store::open(folder).await.unwrap();
        store.ensure_default_experiment(1).await.unwrap();
        let settings: Settings = serde_json::from_value(settings).unwrap();
        settings.check().unwrap();
        let monitoring =
            Monitoring { decisions: Some(log_of(folder)), cache: folder.join("cache"), ..Monitoring::default() };
        let webhooks = Webhooks::start(store.clone(), WebhookPolicy::default(), clock.read).unwrap();
        let planes = DataPlanes::new(Vec::new(), None);
        let state = ControlPlane::new(store.clone(), webhooks, monitoring, settings, planes, clock.read);
        let router = control_plane(state.clone(), Policy::default(), "");
        Self { store, clock, router, state }
    }

    pub(crate) fn jobs(&self) -> Jobs {
        self.state.jobs(None)
    }

    pub(crate) fn jobs_with(&self, launcher: Arc<dyn Launcher>) -> Jobs {
        self.state.jobs(Some(launcher))
    }

    async fn text(&self, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).header("host", "127.0.0.1").body(Body::empty()).unwrap();
        let answer = self.router.clone().call(request).await.unwrap();
        let status = answer.status();
        let bytes = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// Answer of a route as text.
    pub(crate) async fn page(&self, path: &str) -> String {
        let (status, text) = self.text(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        text
    }

    /// Answer of a route as JSON.
    pub(crate) async fn get(&self, path: &str) -> Value {
        serde_json::from_str(&self.page(path).await).unwrap()
    }

    /// Record of a job as `GET /v1/jobs` shows it.
    pub(crate) async fn job(&self, name: &str, model: Option<&str>) -> Value {
        let all = self.get("/v1/jobs").await;
        let is_it = |job: &&Value| job["name"] == name && job["model"].as_str() == model;
        all["jobs"].as_array().unwrap().iter().find(is_it).cloned().unwrap_or_default()
    }

    /// Alerts as (rule, subject, fired at, resolved at), the oldest first.
    pub(crate) async fn alerts(&self, model: &str) -> Vec<(String, String, i64, Option<i64>)> {
        let mut alerts = self.store.alerts(model, 1000, 0).await.unwrap();
        alerts.reverse();
        alerts.into_iter().map(|one| (one.rule, one.subject, one.fired_at_ms, one.resolved_at_ms)).collect()
    }

    /// Registers version 1 of a model, whose package has these files beside a model.
    pub(crate) async fn register(&self, model: &str, files: Vec<(String, Vec<u8>)>) {
        let run = self.store.create_run(NewRun { user: "ana".into(), start_time_ms: 1, ..NewRun::default() }).await;
        let run = run.unwrap().info.id;
        let logged = self.store.log_model(&run, "model", files, 1).await.unwrap();
        let new = NewModelVersion {
            name: model.into(),
            create_model: true,
            source: format!("models:/{}", logged.id),
            run_id: run,
            model_id: logged.id,
            ..NewModelVersion::default()
        };
        let change = Change::new("ana", "test", 1);
        self.store.create_model_version(new, change).await.unwrap();
    }

    /// Registers version 1 of a model with the reference of [`reference`].
    pub(crate) async fn register_watched(&self, model: &str) {
        let bytes = serde_json::to_vec(&reference()).unwrap();
        self.register(model, vec![("monitor.json".into(), bytes)]).await;
    }

    /// Stores hours of traffic, each with 100 decisions whose amounts are multiplied by `factor`.
    pub(crate) async fn traffic(&self, model: &str, hours: impl IntoIterator<Item = i64>, factor: f32) {
        let reference = reference();
        let panes = hours.into_iter().map(|from_ms| stored_pane(&reference, model, from_ms, factor));
        self.store.put_panes(panes.collect()).await.unwrap();
    }
}

fn stored_pane(reference: &MonitorProfile, model: &str, from_ms: i64, factor: f32) -> StoredPane {
    let mut pane = Pane::new(reference, from_ms);
    for i in 0..100 {
        pane.add(reference, &[amount(from_ms, i) * factor], amount(from_ms, i), amount(from_ms, i) >= 0.9);
    }
    StoredPane {
        id: format!("a/{model}/{from_ms}"),
        model: model.into(),
        version: "1".into(),
        from_ms,
        sequence: 1,
        body: serde_json::to_string(&pane.sparse()).unwrap(),
    }
}

/// Beginnings of the hours from `from_ms` to before `until_ms`.
pub(crate) fn hours(from_ms: i64, until_ms: i64) -> impl Iterator<Item = i64> {
    (from_ms / HOUR..until_ms / HOUR).map(|hour| hour * HOUR)
}

fn amount(at_ms: i64, i: i64) -> f32 {
    (((at_ms / HOUR * 100 + i) as f64 + 0.5) * 0.618_033_988_75).fract() as f32
}

/// Four weeks of 100 decisions an hour, before [`MONDAY`], at all hours of the day.
pub(crate) fn reference() -> MonitorProfile {
    let times: Vec<i64> =
        hours(MONDAY - 60 * DAY, MONDAY - 32 * DAY).flat_map(|hour| (0..100).map(move |i| hour + i * 1000)).collect();
    let features: Vec<f32> = times.iter().map(|at| amount(*at, at % HOUR / 1000)).collect();
    let columns = [Watched { name: "amount".into(), levels: None, gain: 1.0 }];
    MonitorProfile::of(&ReferenceRows {
        columns: &columns,
        features: &features,
        times: &times,
        scores: &features,
        threshold: 0.9,
    })
}

/// Receiver that keeps what is posted to it, and answers what the test wants.
pub(crate) struct Inbox {
    port: u16,
    kept: Kept,
    serving: Option<tokio::task::JoinHandle<()>>,
}

#[derive(Clone)]
struct Kept(Arc<Mutex<Vec<Value>>>, Arc<AtomicU16>);

impl Inbox {
    /// A receiver that is not there yet: connections to its port are refused.
    pub(crate) async fn away() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { port, kept: Kept(Arc::default(), Arc::new(AtomicU16::new(200))), serving: None }
    }

    pub(crate) async fn open() -> Self {
        let mut inbox = Self::away().await;
        inbox.come_back().await;
        inbox
    }

    pub(crate) async fn come_back(&mut self) {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        let take = |State(kept): State<Kept>, Json(body): Json<Value>| async move {
            let status = kept.1.load(Ordering::SeqCst);
            if status == 200 {
                kept.0.lock().unwrap().push(body);
            }
            StatusCode::from_u16(status).unwrap()
        };
        let router = Router::new().route("/", post(take)).route("/{*rest}", post(take)).with_state(self.kept.clone());
        self.serving = Some(tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }));
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hooks/CHATSECRET", self.port)
    }

    /// Root of the server, as an Alertmanager's address.
    pub(crate) fn root(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Has the receiver answer this status; what it refuses it does not keep.
    pub(crate) fn answer(&self, status: u16) {
        self.kept.1.store(status, Ordering::SeqCst);
    }

    pub(crate) fn taken(&self) -> Vec<Value> {
        self.kept.0.lock().unwrap().clone()
    }

    /// (rule, subject, state) of everything that was taken, in its order.
    pub(crate) fn news(&self) -> Vec<(String, String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        self.taken().iter().map(|body| (text(&body["rule"]), text(&body["subject"]), text(&body["state"]))).collect()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}
