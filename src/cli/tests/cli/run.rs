//! `strongroom run`: what a command is given, and what is seen of it.

use std::fs;
use std::process::{Command, Output};

use crate::kit::{Home, VALUE, contains};

pub(crate) fn ready() -> Home {
    let home = Home::ready();
    home.put("account.db", VALUE);
    home
}

/// Runs a shell script as the command; gives exit code, stdout and stderr.
fn shell(home: &Home, options: &[&str], script: &str) -> (i32, String, String) {
    seen(home.run(&[&["run"], options, &["--", "sh", "-c", script]].concat(), b""))
}

fn seen(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
}

#[test]
fn a_command_gets_variables_and_what_it_writes_is_masked() {
    let home = ready();
    let script = "test -n \"$DB\" && echo \"out <$DB>\" && echo \"err <$DB>\" >&2; \
                  printf %s \"$DB\" | base64; printf %s \"$DB\" | od -An -vtx1 | tr -d ' \\n'; exit 7";
    let (code, out, err) = shell(&home, &["--env", "DB=account.db"], script);
    assert_eq!(code, 7);
    assert_eq!(out, "out <[masked]>\n[masked]\n[masked]");
    assert_eq!(err, "err <[masked]>\n");

    let (code, out, _) = shell(&home, &["--env", "DB=account.db", "--no-masking"], "echo $DB");
    assert!(code == 0 && out == format!("{VALUE}\n"));
}

/// A program that gets a login writes its password alone.
#[test]
fn the_password_within_a_login_is_masked_too() {
    let home = ready();
    let put = home.run(&["put", "account.app", "--user", "shop"], VALUE.as_bytes());
    assert!(put.status.success());
    let script = "echo \"$APP\" | sed 's/.*\"password\": *\"//; s/\".*//'; echo user=shop";
    let (code, out, err) = shell(&home, &["--env", "APP=account.app"], script);
    assert_eq!((code, out.as_str()), (0, "[masked]\nuser=shop\n"), "{err}");
}

#[test]
fn expressions_in_variables_and_files_of_variables_are_expanded() {
    let home = ready();
    let expression = "<+secrets.getValue(\"account.db\")>";
    let file = home.path("web.env");
    let text = format!(
        "# of the web\n\nexport QUOTED='a {expression} b'\nPLAIN=x=y\nOVER=file\n LAST={expression}\n"
    );
    fs::write(&file, text).expect("written");
    let file = file.to_str().expect("UTF-8");
    let script = "printf '%s\\n' \"$OWN\" \"$OTHER\" \"$QUOTED\" \"$PLAIN\" \"$OVER\" \"$LAST\"";
    let args = ["run", "--no-masking", "--env-file", file, "--", "sh", "-c", script];
    let output = home
        .command(&args)
        .env("OWN", format!("pg://web:{expression}@db"))
        .env("OTHER", "<+env.name>")
        .env("OVER", "own")
        .output()
        .expect("it runs");
    let (code, out, err) = seen(output);
    assert_eq!((code, err.as_str()), (0, ""));
    let expected = format!("pg://web:{VALUE}@db\n<+env.name>\na {VALUE} b\nx=y\nfile\n{VALUE}\n");
    assert!(out == expected, "{}", out.replace(VALUE, "VALUE"));

    fs::write(file, "A=1\nB C=2\n").expect("written");
    let error = home.fails(2, &["run", "--env-file", file, "true"], b"");
    assert!(error.contains("web.env, line 2: a line is VAR=VALUE"), "{error}");
    let mut command = home.command(&["run", "true"]);
    let output = command.env("BAD", "x<+secrets.get").output().expect("it runs");
    let (code, _, error) = seen(output);
    assert_eq!(code, 6);
    assert!(error.contains("the variable BAD: line 1, column 2: "), "{error}");
}

#[test]
fn the_exit_code_is_the_commands() {
    let home = ready();
    let env = ["--env", "DB=account.db"];
    assert_eq!(shell(&home, &env, "exit 0").0, 0);
    assert_eq!(shell(&home, &env, "exit 255").0, 255);
    assert_eq!(shell(&home, &env, "kill -TERM $$").0, 143);
    assert_eq!(shell(&home, &env, "kill -KILL $$").0, 137);
    assert_eq!(shell(&home, &["--no-masking"], "kill -KILL $$").0, 137);
    let error = home.fails(127, &["run", "--env", "DB=account.db", "no-such-program"], b"");
    assert!(error.contains("no-such-program is not found"), "{error}");
    let error = home.fails(126, &["run", "--env", "DB=account.db", "--json", "/dev/null"], b"");
    assert!(error.contains("/dev/null cannot be run"), "{error}");
    serde_json::from_str::<serde_json::Value>(&error).expect("JSON");
    let error = home.fails(3, &["run", "--env", "DB=account.no", "true"], b"");
    assert!(error.contains("account.no"), "{error}");
    home.fails(2, &["run"], b"");
}

/// Whatever is wrong with a value, it is not repeated.
#[test]
fn what_no_variable_can_hold_is_refused_and_named() {
    let home = ready();
    let long = VALUE.repeat(6000);
    for (value, what) in [
        (format!("{VALUE}\0").into_bytes(), "has a NUL byte"),
        ([VALUE.as_bytes(), b"\xff"].concat(), "is not UTF-8"),
        (long.into_bytes(), "is longer than the 128 KiB"),
    ] {
        assert!(home.run(&["put", "account.odd"], &value).status.success());
        let error = home.fails(2, &["run", "--env", "ODD=account.odd", "true"], b"");
        assert!(error.contains(&format!("the value of account.odd {what}")), "{what}");
        assert!(error.contains("--file") && !error.contains(VALUE), "{what}");
        let script = "test -s \"$ODD\"";
        assert_eq!(shell(&home, &["--file", "ODD=account.odd"], script).0, 0, "{what}");
    }
    for (args, said) in [
        (["--env", "DB", "--env", "C=account.db"], "write VAR=NAME"),
        (["--env", "1DB=account.db", "--env", "C=account.db"], "begins with no digit"),
        (["--env", "DB=account.db", "--file", "DB=account.db"], "sets the variable DB twice"),
    ] {
        let error = home.fails(2, &[&["run"], &args[..], &["true"]].concat(), b"");
        assert!(error.contains(said) || error.contains("set the variable DB twice"), "{error}");
    }
}

#[test]
fn values_that_are_too_short_to_mask_are_told() {
    let home = ready();
    home.put("account.pin", "123");
    let options = ["--env", "PIN=account.pin", "--env", "DB=account.db"];
    let (code, out, err) = shell(&home, &options, "echo $PIN $DB");
    assert_eq!((code, out.as_str()), (0, "123 [masked]\n"));
    assert!(err.contains("the value of account.pin is not masked"), "{err}");
    assert!(!err.contains("account.db"), "{err}");
}

/// Neither the command line nor the environment of this program has a value, and
/// nothing is written anywhere.
#[test]
fn the_value_is_with_the_command_and_nowhere_else() {
    let home = ready();
    let script =
        "cat /proc/$PPID/cmdline /proc/$PPID/environ 2>&1; tr '\\0' '\\n' < /proc/$$/cmdline";
    let options = ["--env", "DB=account.db", "--file", "F=account.db", "--no-masking"];
    let (code, out, _) = shell(&home, &options, script);
    assert!(code == 0 && out.contains("account.db"));
    assert!(!out.contains(VALUE), "a value is shown");
    assert_eq!(home.files_with_the_value(), Vec::<std::path::PathBuf>::new());
}

/// It opens every secret; the command is to have some.
#[test]
fn the_stores_passphrase_is_not_the_commands() {
    let home = Home::empty();
    let with = |args: &[&str]| {
        let mut command = home.command(args);
        command.env("KEK_PASSPHRASE", "correct horse").env("OTHER", "kept");
        command.output().expect("it runs")
    };
    let init = ["init", "--protection", "passphrase", "--passphrase", "env:KEK_PASSPHRASE"];
    assert!(with(&init).status.success());
    std::fs::write(home.path("value"), VALUE).expect("written");
    let path = home.path("value");
    let put = with(&["put", "account.db", "--file", path.to_str().expect("UTF-8")]);
    assert!(put.status.success());
    let script = "echo \"<$DB> <$KEK_PASSPHRASE> <$OTHER>\"";
    let (code, out, err) = seen(with(&["run", "--env", "DB=account.db", "--", "sh", "-c", script]));
    assert_eq!((code, out.as_str()), (0, "<[masked]> <> <kept>\n"), "{err}");
}

#[test]
fn others_have_the_store_while_the_command_runs() {
    let home = ready();
    let script = format!("{} get account.db --wait 1s", env!("CARGO_BIN_EXE_strongroom"));
    let (code, out, err) = shell(&home, &["--env", "DB=account.db"], &script);
    assert_eq!((code, out.as_str()), (0, "[masked]"), "{err}");
}

#[test]
fn the_sidecar_gives_the_same() {
    let home = ready();
    let serving = home.serve();
    let options = ["--env", "DB=account.db", "--socket", &serving.socket];
    let (code, out, err) = shell(&home, &options, "echo ${#DB} $DB");
    assert_eq!((code, out), (0, format!("{} [masked]\n", VALUE.len())), "{err}");
    let error = home.fails(3, &["run", "--env", "DB=account.no", "true"], b"");
    assert!(error.contains("there is no such secret"), "{error}");
}

#[test]
fn nobody_who_reads_is_no_failure_of_the_command() {
    let home = ready();
    let strongroom = env!("CARGO_BIN_EXE_strongroom");
    let script = format!("{strongroom} run --env DB=account.db -- yes | head -n 1");
    let output = Command::new("sh")
        .args(["-c", &script])
        .env("STRONGROOM_HOME", home.dir.path())
        .output()
        .expect("it runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "y\n");
    assert!(!contains(&output.stderr, b"error"), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_command_without_secrets_is_run_with_a_note() {
    let (code, out, err) = shell(&Home::empty(), &[], "echo done");
    assert_eq!((code, out.as_str()), (0, "done\n"));
    assert!(err.contains("no secret is asked for"), "{err}");
}
