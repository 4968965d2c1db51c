//! What a cold get takes, beside the bare request and hvac: medians, printed with
//! `STRONGROOM_NIGHTLY=1 cargo test -p strongroom-tests --test vault latency -- --nocapture`.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;
use strongroom_core::{PutOptions, SecretName, SecretStore, Select};
use strongroom_kit::block_on;
use strongroom_vault::{Auth, KvOptions, KvVersion, VaultKv};

use crate::{bytes, connect, given, server, settings};

const HVAC: &str = "
import sys, time, hvac
client = hvac.Client()
times = []
for _ in range(int(sys.argv[1])):
    begun = time.perf_counter()
    client.secrets.kv.v2.read_secret_version(path='strongroom/acme/@db', mount_point='latency',
                                             raise_on_deleted_version=True)
    times.append(time.perf_counter() - begun)
print(int(sorted(times)[len(times) // 2] * 1e6))";

/// A connection that is kept, and the request as it goes over it.
struct Bare {
    stream: BufReader<TcpStream>,
    request: String,
}

impl Bare {
    fn new(path: &str) -> Self {
        let address = server().address().trim_start_matches("http://");
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let token = server().root_token();
        let request =
            format!("GET /v1/{path} HTTP/1.1\r\nHost: {address}\r\nX-Vault-Token: {token}\r\n\r\n");
        Self { stream: BufReader::new(stream), request }
    }

    fn ask(&mut self) {
        self.stream.get_mut().write_all(self.request.as_bytes()).unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(told) = line.strip_prefix("content-length: ") {
                length = told.parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        assert!(length > 0, "no answer");
    }
}

fn median(rounds: usize, mut once: impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..rounds)
        .map(|_| {
            let begun = Instant::now();
            once();
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[rounds / 2]
}

#[test]
fn a_get_answers_as_the_bare_request_does() {
    let rounds = if env::var_os("STRONGROOM_NIGHTLY").is_some() { 3_000 } else { 20 };
    server().mount("latency", "kv", &json!({"version": "2"}));
    let vault = connect(&settings(server().address(), Auth::Token(given(server().root_token()))));
    let mut options = KvOptions::new("acme");
    "latency".clone_into(&mut options.mount);
    options.version = Some(KvVersion::Two);
    let store = block_on(VaultKv::open(&vault, options)).unwrap();
    let name = SecretName::new("acme".parse().unwrap(), "db").unwrap();
    let value = bytes(&"v".repeat(1024));
    block_on(store.put(&name, &value, &PutOptions::default())).unwrap();
    let ours = median(rounds, || {
        let got = block_on(store.get(&name, &Select::Latest)).unwrap();
        assert!(got.value == value, "another value");
    });
    let mut bare = Bare::new("latency/data/strongroom/acme/@db");
    let bare = median(rounds, || bare.ask());
    let hvac = server().hvac(HVAC, &[&rounds.to_string()]);
    println!("a get of 1 KiB: {ours:?}; the bare request {bare:?}; hvac {} µs", hvac.trim());
}
