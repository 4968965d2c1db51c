//! The sidecar beside an empty tonic echo: two servers in processes of their
//! own, on the same kind of socket, asked in turns by the same client in this
//! process. Results are written as criterion writes them, for `benches/run`.
//!
//! `STRONGROOM_BENCH_SOAK=10000000` asks for so many values at the end and says
//! how the sidecar's memory grew.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use strongroom::config::NewConfig;
use strongroom::{Config, Home, OpenOptions, PutOptions, SecretBytes};
use strongroom_rpc::v1::strongroom_client::StrongroomClient;
use strongroom_rpc::v1::{BatchGetRequest, GetRequest};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// Servers are asked in turns, so that what else the machine does falls on all.
const ROUNDS: usize = 15;
const DEPTH: usize = 64;
const BATCH: usize = 1_000;

struct Server {
    child: Child,
    client: StrongroomClient<Channel>,
    ready_in: Duration,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn start(program: &str, argument: &Path, socket: PathBuf) -> Server {
    let began = Instant::now();
    let mut child = Command::new(program)
        .arg(argument)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let ready_in = began.elapsed();
    assert_eq!(line, "ready\n");
    let connect = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(hyper_util::rt::TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector(connect).await;
    let client =
        StrongroomClient::new(channel.expect("connected")).max_decoding_message_size(usize::MAX);
    Server { child, client, ready_in }
}

async fn get(client: &mut StrongroomClient<Channel>, name: &str) {
    let request = GetRequest { name: name.into(), ..GetRequest::default() };
    let answer = client.get(request).await.expect("an answer").into_inner();
    assert_eq!(answer.value.len(), 1 << 10);
}

/// The median time of one get by one client.
async fn alone(server: &Server, gets: usize) -> (Duration, Duration) {
    let mut client = server.client.clone();
    let mut times = Vec::with_capacity(gets);
    for _ in 0..gets {
        let began = Instant::now();
        get(&mut client, "account.kib").await;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    (times[gets / 2], times[gets * 99 / 100])
}

/// The time of one get, on average, with `DEPTH` under way.
async fn crowd(server: &Server, gets: usize) -> Duration {
    let began = Instant::now();
    join_all((0..DEPTH).map(|_| {
        let mut client = server.client.clone();
        tokio::spawn(async move {
            for _ in 0..gets / DEPTH {
                get(&mut client, "account.kib").await;
            }
        })
    }))
    .await
    .into_iter()
    .for_each(|done| done.expect("no panic"));
    began.elapsed() / (gets / DEPTH * DEPTH) as u32
}

/// The time of one value, on average, in batches of distinct secrets.
async fn batches(server: &Server, prefix: &str, bytes: usize, count: usize) -> Duration {
    let mut client = server.client.clone();
    let names = (0..BATCH)
        .map(|i| GetRequest { name: format!("account.{prefix}-{i}"), ..GetRequest::default() });
    let request = BatchGetRequest { requests: names.collect(), scope: String::new() };
    let began = Instant::now();
    for _ in 0..count {
        let answer = client.batch_get(request.clone()).await.expect("an answer").into_inner();
        assert_eq!(answer.results.len(), BATCH);
        for result in answer.results {
            let Some(strongroom_rpc::v1::batch_get_result::Result::Secret(secret)) = result.result
            else {
                panic!("not every secret was given");
            };
            assert_eq!(secret.value.len(), bytes);
        }
    }
    began.elapsed() / (count * BATCH) as u32
}

/// Resident memory, in bytes.
fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id()));
    let status = status.expect("the process lives");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).expect("a number") << 10
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn record(name: &str, nanoseconds: f64) {
    strongroom_benches::record("sidecar", name, nanoseconds);
}

fn record_time(name: &str, time: Duration) {
    record(name, time.as_secs_f64() * 1e9);
}

/// An installation with the secrets that are asked for, cached from then on.
fn install(folder: &Path) -> PathBuf {
    let home = Home::at(folder);
    let text = NewConfig::default().to_text(&home).expect("a configuration");
    let text = text
        .replace("\nenabled = false", "\nenabled = true")
        .replace("ttl = \"5m\"", "ttl = \"1d\"");
    std::fs::write(&home.config, text).expect("written");
    let config = Config::load(&home.config).expect("valid");
    let put_all = async {
        let engine = config.create(OpenOptions::default()).await.expect("created");
        let kib = SecretBytes::copy_from(&[7; 1 << 10]).expect("memory");
        let small = SecretBytes::copy_from(&[7; 64]).expect("memory");
        let put = async |name: String, value: &SecretBytes| {
            engine.put(&name, value, &PutOptions::default()).await.expect("put");
        };
        put("account.kib".into(), &kib).await;
        for i in 0..BATCH {
            put(format!("account.small-{i}"), &small).await;
            put(format!("account.kib-{i}"), &kib).await;
        }
    };
    futures_executor::block_on(put_all);
    home.config
}

fn main() {
    // `cargo test --benches` runs this too.
    if std::env::args().any(|word| word == "--test") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let config = install(folder.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let socket = folder.path().join("run/sidecar.sock");
        let mut starts = Vec::new();
        for _ in 0..5 {
            let server = start(env!("CARGO_BIN_EXE_sidecar-host"), &config, socket.clone()).await;
            starts.push(server.ready_in);
        }
        record_time("ready after the start", median(starts));
        let ours = start(env!("CARGO_BIN_EXE_sidecar-host"), &config, socket).await;
        println!("idle: {} KiB resident", resident(&ours) >> 10);
        let echo = folder.path().join("echo.sock");
        let echo = start(env!("CARGO_BIN_EXE_echo-host"), &echo.clone(), echo).await;
        measure(&ours, &echo).await;
        if let Some(gets) = std::env::var("STRONGROOM_BENCH_SOAK").ok().and_then(|n| n.parse().ok())
        {
            soak(&ours, gets).await;
        }
    });
}

async fn measure(ours: &Server, echo: &Server) {
    for server in [ours, echo] {
        alone(server, 2_000).await;
        crowd(server, 20_000).await;
    }
    let (mut single, mut tail, mut deep) = (vec![], vec![], vec![]);
    let (mut single_echo, mut tail_echo, mut deep_echo) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let (p50, p99) = alone(ours, 4_000).await;
        single.push(p50);
        tail.push(p99);
        let (p50, p99) = alone(echo, 4_000).await;
        single_echo.push(p50);
        tail_echo.push(p99);
        deep.push(crowd(ours, 40_000).await);
        deep_echo.push(crowd(echo, 40_000).await);
    }
    record_time("get of 1 KiB, one client, p50/strongroom", median(single));
    record_time("get of 1 KiB, one client, p50/echo", median(single_echo));
    record_time("get of 1 KiB, one client, p99/strongroom", median(tail));
    record_time("get of 1 KiB, one client, p99/echo", median(tail_echo));
    record_time("get of 1 KiB, 64 at once, each/strongroom", median(deep));
    record_time("get of 1 KiB, 64 at once, each/echo", median(deep_echo));
    for (prefix, bytes, what) in [("small", 64, "64 B"), ("kib", 1 << 10, "1 KiB")] {
        batches(ours, prefix, bytes, 5).await;
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            times.push(batches(ours, prefix, bytes, 40).await);
        }
        let each = median(times);
        record_time(&format!("one value of {what} in a BatchGet of 1,000"), each);
        println!("  {:.0} values a second", 1.0 / each.as_secs_f64());
    }
}

async fn soak(ours: &Server, gets: usize) {
    crowd(ours, 200_000).await;
    let before = resident(ours);
    crowd(ours, gets).await;
    let after = resident(ours);
    println!("{gets} gets: {} KiB resident before, {} KiB after", before >> 10, after >> 10);
}
