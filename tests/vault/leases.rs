//! Credentials that Vault makes when they are read: users of a real `PostgreSQL`.

mod ends;
mod use_of;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strongroom_core::clock::ManualClock;
use strongroom_core::{ExternalStore, Timestamp};
use strongroom_kit::block_on;
use strongroom_kit::postgres::Postgres;
use strongroom_kit::proxy::FaultProxy;
use strongroom_vault::{LeaseOptions, Vault, VaultLeases};

use crate::client::settings;
use crate::{proxy, server};

/// How long the credentials of every role last, and how long they may be renewed.
const LIFE: Duration = Duration::from_mins(1);
const LONGEST: Duration = Duration::from_hours(1);

const RENEW: &str = "POST /v1/sys/leases/renew";

/// A user and a password of the database. They are equal, or they are others.
#[derive(PartialEq, Eq)]
struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// Whether the database lets them in.
    fn let_in(&self) -> bool {
        let who = Postgres::shared().sql((&self.user, &self.password), "SELECT current_user");
        who.is_ok_and(|who| who == self.user)
    }
}

/// A role of a database engine, both of this test alone.
pub(crate) struct Role {
    name: &'static str,
    pub(crate) path: String,
    proxy: FaultProxy,
    clock: ManualClock,
}

impl Role {
    /// `name` has 8 letters at most, which is what Vault keeps of it.
    pub(crate) fn new(name: &'static str) -> Self {
        let (server, postgres) = (server(), Postgres::shared());
        let mount = format!("database-{name}");
        server.mount(&mount, "database", &json!({}));
        let (user, password) = postgres.admin();
        let url = "postgresql://{{username}}:{{password}}@127.0.0.1";
        let url = format!("{url}:{}/postgres?sslmode=disable", postgres.port());
        let config = json!({
            "plugin_name": "postgresql-database-plugin", "allowed_roles": name,
            "connection_url": url, "username": user, "password": password,
        });
        server.api("POST", &format!("{mount}/config/database"), &config);
        let create = "CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}' \
            VALID UNTIL '{{expiration}}'";
        let role = json!({
            "db_name": "database", "creation_statements": [create],
            "default_ttl": LIFE.as_secs(), "max_ttl": LONGEST.as_secs(),
        });
        server.api("POST", &format!("{mount}/roles/{name}"), &role);
        let path = format!("{mount}/creds/{name}");
        let clock = ManualClock::new(Timestamp(1_700_000_000_000));
        Self { name, path, proxy: proxy(), clock }
    }

    fn vault(&self, token: &str) -> Vault {
        let mut settings = settings(&self.proxy, token);
        settings.clock = Arc::new(self.clock.clone());
        Vault::connect(&settings).unwrap()
    }

    fn leases(&self, options: LeaseOptions) -> VaultLeases {
        VaultLeases::new(&self.vault(server().root_token()), options)
    }

    /// What is read now, and how long it is good for.
    fn read(&self, leases: &VaultLeases) -> (Credentials, Duration) {
        let read = block_on(leases.read(&self.path)).unwrap();
        let value: Value = serde_json::from_slice(read.value.expose()).unwrap();
        let part = |name: &str| value[name].as_str().unwrap().to_owned();
        let credentials = Credentials { user: part("username"), password: part("password") };
        (credentials, read.valid_for.unwrap())
    }

    /// How many users there are that Vault has made.
    fn users(&self) -> usize {
        let postgres = Postgres::shared();
        let of_role =
            format!("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'v-%-{}-%'", self.name);
        postgres.sql(postgres.admin(), &of_role).unwrap().parse().unwrap()
    }

    fn reads(&self) -> usize {
        self.proxy.count(&format!("GET /v1/{}", self.path))
    }
}

/// What goes on behind a reader's back comes to its end.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_mins(1);
    while !is_so() {
        assert!(Instant::now() < end, "{what}: not within a minute");
        thread::yield_now();
    }
}
