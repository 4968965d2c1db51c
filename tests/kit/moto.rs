//! moto, the services of AWS in one local process, for those tests that ask for it.
//! It ends with the process that started it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;

use crate::python;

const REQUIREMENTS: &str = "moto[server]==5.2.5\n";

/// Serves on a free port, says which, and ends with its standard input.
const SERVE: &str = "
import os, sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
os._exit(0)
";

/// What moto does otherwise than AWS, and the suites would notice.
const CORRECTIONS: &str = include_str!("moto/corrections.py");

/// Makes a key for an alias that has none, or a new one.
const ALIAS: &str = "
import sys, boto3
kms = boto3.client('kms', endpoint_url=sys.argv[1], region_name='eu-central-1',
                   aws_access_key_id='AKIDEXAMPLE', aws_secret_access_key='x')
names = [a['AliasName'] for p in kms.get_paginator('list_aliases').paginate() for a in p['Aliases']]
if sys.argv[2] not in names:
    key = kms.create_key()['KeyMetadata']['KeyId']
    kms.create_alias(AliasName=sys.argv[2], TargetKeyId=key)
elif sys.argv[3] == 'anew':
    key = kms.create_key()['KeyMetadata']['KeyId']
    kms.update_alias(AliasName=sys.argv[2], TargetKeyId=key)
";

const BOTO3: &str = "
import os, sys, json, boto3
sm = boto3.client('secretsmanager', endpoint_url=os.environ['ENDPOINT'],
                  region_name='eu-central-1', aws_access_key_id='AKIDEXAMPLE',
                  aws_secret_access_key='x')
";

/// A moto that serves.
#[derive(Debug)]
pub struct Moto {
    python: PathBuf,
    endpoint: String,
    _input: ChildStdin,
    _child: Child,
}

impl Moto {
    /// The one of this process; what it needs is installed below `within`, once.
    #[must_use]
    pub fn shared(within: &Path) -> &'static Self {
        static MOTO: OnceLock<Moto> = OnceLock::new();
        MOTO.get_or_init(|| Self::start(within))
    }

    fn start(within: &Path) -> Self {
        let python = python::with(REQUIREMENTS, within);
        let mut command = Command::new(&python);
        command
            .args(["-c", &[CORRECTIONS, SERVE].concat()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().expect("moto starts");
        let input = child.stdin.take().expect("a pipe");
        let mut line = String::new();
        let mut told = BufReader::new(child.stdout.take().expect("a pipe"));
        told.read_line(&mut line).expect("text");
        let port: u16 = line.trim().parse().expect("moto says its port");
        let endpoint = format!("http://127.0.0.1:{port}");
        Self { python, endpoint, _input: input, _child: child }
    }

    /// Makes the alias, and a key for it, unless they are there.
    pub fn alias(&self, alias: &str) {
        self.script(alias, false);
    }

    /// Points the alias at a new key.
    pub fn repoint(&self, alias: &str) {
        self.script(alias, true);
    }

    fn script(&self, alias: &str, anew: bool) {
        let mut command = Command::new(&self.python);
        command.args(["-c", ALIAS, &self.endpoint, alias]).arg(if anew { "anew" } else { "" });
        let status = command.status().expect("it starts");
        assert!(status.success(), "{alias}: {status}");
    }

    /// Runs a program in Python whose client `sm` is boto3's for Secrets Manager, with
    /// these arguments in `sys.argv[1:]`, and gives what it prints.
    pub fn boto3(&self, program: &str, arguments: &[&str]) -> String {
        let program = [BOTO3, program].concat();
        let mut command = Command::new(&self.python);
        command.args(["-c", &program]).args(arguments);
        let output = command.env("ENDPOINT", &self.endpoint).output().expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Where it serves.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}
