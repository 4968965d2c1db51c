//! The `strongroom` command line: one subcommand a file, below `commands`.

mod args;
mod commands;
mod context;
mod exit;
mod failure;
mod hint;
mod importing;
mod output;
mod progress;
mod session;
mod sidecar;
mod terminal;
mod transfer;
mod value;
mod whole_file;

use std::process::ExitCode;

use strongroom::guard::WipingAllocator;

use self::args::Cli;
use self::context::Context;
use self::failure::Failure;

/// Libraries copy values into buffers of their own: what this program frees is wiped.
#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator;

fn main() -> ExitCode {
    // Before anything is read: this process holds secrets from here on.
    let hardened = strongroom::guard::harden_process().map_err(strongroom::Error::from);
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => return output::parse_error(&error),
    };
    let context = Context::new(cli.globals);
    let result = hardened.map_err(Failure::from).and_then(|()| cli.command.run(&context));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            context.output.failure(&failure);
            exit::code_of(&failure).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    #[test]
    fn what_the_program_frees_is_wiped() {
        let memory = File::open("/proc/self/mem").expect("our own memory");
        let mut left = [0; 500];
        let freed = vec![0xa5_u8; left.len()];
        let address = freed.as_ptr().addr() as u64;
        memory.read_exact_at(&mut left, address).expect("is mapped");
        assert!(left.iter().all(|byte| *byte == 0xa5), "reads what is there");
        drop(freed);
        memory.read_exact_at(&mut left, address).expect("is mapped");
        // The system's allocator writes two pointers into what is free.
        let is_kept = left[16..].contains(&0xa5);
        assert_eq!(is_kept, cfg!(feature = "danger_keep_freed_secrets"));
    }
}
