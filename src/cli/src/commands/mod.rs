//! The subcommands, one file each.

mod audit;
mod aws;
mod backup;
mod check;
mod completions;
mod delete;
mod describe;
mod get;
mod import;
mod init;
mod keys;
mod list;
mod man;
mod migrate;
mod open;
mod outcome;
mod parts;
mod purge;
mod put;
mod quickstart;
mod reencrypt;
mod render;
mod restore;
mod rewrap;
mod rotate;
mod run;
mod seal;
mod serve;
mod status;
mod vault;
mod verify;
mod versions;
mod watch;

use clap::Subcommand;

use crate::context::Context;
use crate::failure::Result;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(init::Args),
    Put(put::Args),
    Get(get::Args),
    List(list::Args),
    Versions(versions::Args),
    Describe(describe::Args),
    Delete(delete::Args),
    Restore(restore::Args),
    Purge(purge::Args),
    Run(run::Args),
    Render(render::Args),
    Watch(watch::Args),
    Seal(seal::Args),
    Open(open::Args),
    Rotate(rotate::Args),
    Rewrap(rewrap::Args),
    Reencrypt(reencrypt::Args),
    Migrate(migrate::Args),
    Import(import::Args),
    Backup(backup::Args),
    Verify(verify::Args),
    Keys(keys::Args),
    Check(check::Args),
    Serve(serve::Args),
    Status(status::Args),
    Audit(audit::Args),
    Aws(aws::Args),
    Vault(vault::Args),
    Quickstart(quickstart::Args),
    Completions(completions::Args),
    Man(man::Args),
    #[command(hide = true)]
    Vanish(run::Vanish),
}

impl Command {
    pub(crate) fn run(self, context: &Context) -> Result {
        match self {
            Self::Init(args) => args.run(context),
            Self::Put(args) => args.run(context),
            Self::Get(args) => args.run(context),
            Self::List(args) => args.run(context),
            Self::Versions(args) => args.run(context),
            Self::Describe(args) => args.run(context),
            Self::Delete(args) => args.run(context),
            Self::Restore(args) => args.run(context),
            Self::Purge(args) => args.run(context),
            Self::Run(args) => args.run(context),
            Self::Render(args) => args.run(context),
            Self::Watch(args) => args.run(context),
            Self::Seal(args) => args.run(context),
            Self::Open(args) => args.run(context),
            Self::Rotate(args) => args.run(context),
            Self::Rewrap(args) => args.run(context),
            Self::Reencrypt(args) => args.run(context),
            Self::Migrate(args) => args.run(context),
            Self::Import(args) => args.run(context),
            Self::Backup(args) => args.run(context),
            Self::Verify(args) => args.run(context),
            Self::Keys(args) => args.run(context),
            Self::Check(args) => args.run(context),
            Self::Serve(args) => args.run(context),
            Self::Status(args) => args.run(context),
            Self::Audit(args) => args.run(context),
            Self::Aws(args) => args.run(context),
            Self::Vault(args) => args.run(context),
            Self::Quickstart(args) => args.run(context),
            Self::Completions(args) => args.run(context),
            Self::Man(args) => args.run(context),
            Self::Vanish(args) => args.run(),
        }
    }
}
