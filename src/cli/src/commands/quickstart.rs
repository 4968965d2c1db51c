//! `strongroom quickstart`

use std::fs::{self, DirBuilder};
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use futures_executor::block_on;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use strongroom::config::{NewConfig, StoreType};
use strongroom::guard::SecretBuffer;
use strongroom::local::records::{RecordOptions, RecordStoreKind, open_records};
use strongroom::{Config, Error, Home, PageLimit, PutOptions, SecretBytes};

use super::init;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::{BOLD, DIM, GOOD, visible};
use crate::terminal::Signals;
use crate::value;

const NAME: &str = "account.quickstart";
/// How much of a record is shown.
const SHOWN_BYTES: usize = 96;

/// Set a store up, keep a sample secret in it, show what the disk holds, and serve it
///
/// At the end a sidecar serves the new store, for you to try it from another
/// terminal; Ctrl-C ends both.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  strongroom quickstart
  strongroom quickstart ~/strongroom-trial --once")]
pub(crate) struct Args {
    /// Where [default: a new folder among the temporary files]
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// End after the demonstration, and the sidecar with it
    #[arg(long)]
    once: bool,
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Result {
        let folder = match &self.directory {
            Some(folder) => std::path::absolute(folder)?,
            None => fresh_folder()?,
        };
        let context = context.within(&folder);
        let home = Home::at(&folder);
        let config = init::create(&context, &home, &NewConfig::default())?;
        let sample = sample()?;
        let info = context.session()?.put(NAME, &sample, &PutOptions::default())?;
        let reader = read_in_another_process("--config", &home.config, &sample)?;
        let record = stored_record(&config)?;
        let files = search(&folder, &sample)?;
        let hits: usize = files.iter().map(|file| file.hits).sum();
        if hits > 0 {
            return Err(Error::internal("the value stands on the disk in clear").into());
        }
        let listed: Vec<_> =
            files.iter().map(|f| json!({ "path": f.path, "bytes": f.bytes })).collect();
        let sidecar = Serving::begin(&home)?;
        let caller = read_in_another_process("--socket", &sidecar.socket, &sample)?;
        let (socket, pid) = (sidecar.socket.clone(), sidecar.pid());
        let document = json!({
            "folder": folder,
            "secret": NAME,
            "version": info.version,
            "read_back_by_pid": reader,
            "socket": socket,
            "sidecar_pid": pid,
            "read_through_it_by_pid": caller,
            "files": listed,
            "files_with_the_value": 0,
        });
        context.output.show(&document, |out| {
            let shown = folder.display();
            writeln!(out, "{GOOD}1{GOOD:#}  A new store is in {BOLD}{shown}{BOLD:#}")?;
            writeln!(out, "{GOOD}2{GOOD:#}  A random value was stored as {NAME}")?;
            writeln!(
                out,
                "{GOOD}3{GOOD:#}  Another process (pid {reader}) read it back, the same"
            )?;
            writeln!(out, "{GOOD}4{GOOD:#}  The disk holds this instead of it:")?;
            hexdump(out, &record)?;
            writeln!(out, "   Neither the value nor its base64 or hex is in any file:")?;
            for file in &files {
                let path = visible(&file.path.display().to_string());
                writeln!(out, "   {DIM}{:>9} bytes{DIM:#}  {path}", file.bytes)?;
            }
            writeln!(
                out,
                "{GOOD}5{GOOD:#}  A sidecar (pid {pid}) served it to a process (pid {caller}) that \
                 knows no key"
            )?;
            writeln!(out)?;
            if self.once {
                writeln!(out, "Next, with this store:")?;
            } else {
                writeln!(out, "It goes on serving. Next, from another terminal:")?;
            }
            writeln!(out, "   {BOLD}export STRONGROOM_HOME={}{BOLD:#}", quoted(&folder))?;
            writeln!(out, "   strongroom get {NAME}")?;
            writeln!(out, "   printf s3cret | strongroom put account.db")?;
            if self.once {
                writeln!(out, "   strongroom audit verify")?;
                writeln!(out, "   strongroom serve")?;
            } else {
                writeln!(out, "   strongroom status {NAME}")?;
                writeln!(out, "   strongroom watch")?;
            }
            writeln!(out, "or with one to keep: strongroom init")?;
            if !self.once {
                writeln!(out, "{BOLD}Ctrl-C ends the sidecar.{BOLD:#}")?;
            }
            Ok(())
        })?;
        if self.once { sidecar.end() } else { sidecar.wait() }
    }
}

fn fresh_folder() -> Result<PathBuf> {
    let random = u64::from_le_bytes(strongroom::random::array()?);
    let folder = std::env::temp_dir().join(format!("strongroom-quickstart-{random:016x}"));
    DirBuilder::new().mode(0o700).create(&folder).map_err(|e| file_error(&folder, e))?;
    Ok(std::path::absolute(folder)?)
}

/// Random letters: nobody finds this value on a disk by chance.
fn sample() -> Result<SecretBytes> {
    let mut random = SecretBytes::zeroed(18)?;
    strongroom::random::fill(random.expose_mut())?;
    value::base64(random.expose())
}

/// A sidecar in a process of its own.
struct Serving {
    child: Child,
    /// It writes nothing more; that it is closed tells that the child has ended.
    stdout: BufReader<ChildStdout>,
    socket: PathBuf,
}

impl Serving {
    /// Starts a sidecar and waits until it answers.
    fn begin(home: &Home) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", "--json", "--log-level", "warn", "--config"])
            .arg(&home.config)
            // Ctrl-C is for us: we end it, once.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().map(BufReader::new);
        let stdout = stdout.ok_or_else(|| Error::internal("a pipe is missing"))?;
        let mut serving = Self { child, stdout, socket: PathBuf::new() };
        let mut line = String::new();
        serving.stdout.read_line(&mut line)?;
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        let Some(socket) = ready["socket"].as_str() else {
            let ended = serving.child.wait()?;
            return Err(Error::internal(format!("the sidecar did not start ({ended})")).into());
        };
        serving.socket = socket.into();
        Ok(serving)
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it finish what is under way, and end.
    fn end(mut self) -> Result {
        self.terminate();
        let ended = self.child.wait()?;
        if ended.success() {
            return Ok(());
        }
        Err(Error::internal(format!("the sidecar did not end well ({ended})")).into())
    }

    /// Waits until a signal tells us to end, and it with us.
    fn wait(mut self) -> Result {
        let signals = Signals::catch()?;
        match signals.wait_for(self.stdout.get_ref().as_fd()) {
            Err(Failure::Signalled(_)) => self.end(),
            Err(failure) => Err(failure),
            Ok(()) => {
                let ended = self.child.wait()?;
                Err(Error::unavailable(format!("the sidecar has ended ({ended})")).into())
            }
        }
    }

    fn terminate(&self) {
        // It may have ended already; its number is not given away before `wait`.
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
    }
}

impl Drop for Serving {
    /// Where the demonstration fails, no sidecar is left over.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.terminate();
            let _ = self.child.wait();
        }
    }
}

/// Runs this program again to get the sample, by way of `option`; gives its pid.
fn read_in_another_process(option: &str, place: &Path, sample: &SecretBytes) -> Result<u32> {
    let program = std::env::current_exe()?;
    let mut child = Command::new(program)
        .args(["get", NAME, option])
        .arg(place)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let pid = child.id();
    let answer = match &mut child.stdout {
        Some(stdout) => SecretBuffer::read_to_end(stdout, 1 << 10),
        None => Err(strongroom::guard::ReadError::Io(io::ErrorKind::BrokenPipe.into())),
    };
    let ended = child.wait()?;
    let same = answer.is_ok_and(|answer| answer == *sample);
    if ended.success() && same {
        return Ok(pid);
    }
    Err(Error::internal(format!("another process did not read the value back ({ended})")).into())
}

/// The bytes of the sample's record, as the record store has them.
fn stored_record(config: &Config) -> Result<Vec<u8>> {
    let kind = match config.store.kind {
        StoreType::Redb => RecordStoreKind::Redb,
        _ => RecordStoreKind::Sled,
    };
    let records = open_records(kind, &config.store_path(), &RecordOptions::default())?;
    let found = block_on(records.scan(b"", None, PageLimit::entries(100)))?.entries;
    let about = |key: &[u8]| key.windows(10).any(|window| window == b"quickstart");
    let record = found.into_iter().filter(|(key, _)| about(key)).map(|(_, stored)| stored.value);
    // The head is shorter than the record.
    let longest = record.max_by_key(Vec::len);
    Ok(longest.ok_or_else(|| Error::internal("the record is not in the store"))?)
}

struct Searched {
    path: PathBuf,
    bytes: u64,
    hits: usize,
}

/// Looks for the value, in three spellings, in every file below `folder`.
fn search(folder: &Path, sample: &SecretBytes) -> Result<Vec<Searched>> {
    let needles = [sample.try_clone()?, value::base64(sample.expose())?, hex(sample)?];
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).map_err(|e| file_error(&next, e))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let content = fs::read(&path).map_err(|e| file_error(&path, e))?;
            let contains = |needle: &&SecretBytes| {
                content.windows(needle.len()).any(|window| window == needle.expose())
            };
            let hits = needles.iter().filter(contains).count();
            found.push(Searched { path, bytes: content.len() as u64, hits });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn hex(sample: &SecretBytes) -> Result<SecretBytes> {
    let mut out = SecretBytes::zeroed(2 * sample.len())?;
    let digit = |bits: u8| b"0123456789abcdef"[usize::from(bits & 0xf)];
    for (byte, pair) in sample.expose().iter().zip(out.expose_mut().chunks_exact_mut(2)) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(*byte)]);
    }
    Ok(out)
}

fn hexdump(out: &mut dyn io::Write, record: &[u8]) -> io::Result<()> {
    for (row, bytes) in record[..record.len().min(SHOWN_BYTES)].chunks(16).enumerate() {
        write!(out, "   {DIM}{:04x}", row * 16)?;
        for byte in bytes {
            write!(out, " {byte:02x}")?;
        }
        let text: String = bytes
            .iter()
            .map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' })
            .collect();
        writeln!(out, "{:pad$}  {text}{DIM:#}", "", pad = 3 * (16 - bytes.len()))?;
    }
    let more = record.len().saturating_sub(SHOWN_BYTES);
    if more > 0 { writeln!(out, "   {DIM}and {more} bytes more{DIM:#}") } else { Ok(()) }
}

/// The path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", visible(&text).replace('\'', r"'\''"))
    }
}

fn file_error(path: &Path, error: io::Error) -> Failure {
    let message = format!("{}: {error}", path.display());
    Error::unavailable(message).retryable(false).with_source(error).into()
}
