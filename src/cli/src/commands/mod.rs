//! The subcommands, one file each.

mod audit;
mod check;
mod completions;
mod delete;
mod get;
mod init;
mod list;
mod man;
mod purge;
mod put;
mod quickstart;
mod restore;
mod versions;

use clap::Subcommand;
use strongroom::{Page, PageRequest, Result as EngineResult};

use crate::context::Context;
use crate::failure::Result;

/// How many items of a long answer are asked for at a time.
const PAGE: usize = 1000;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(init::Args),
    Put(put::Args),
    Get(get::Args),
    List(list::Args),
    Versions(versions::Args),
    Delete(delete::Args),
    Restore(restore::Args),
    Purge(purge::Args),
    Check(check::Args),
    Audit(audit::Args),
    Quickstart(quickstart::Args),
    Completions(completions::Args),
    Man(man::Args),
}

impl Command {
    pub(crate) fn run(self, context: &Context) -> Result {
        match self {
            Self::Init(args) => args.run(context),
            Self::Put(args) => args.run(context),
            Self::Get(args) => args.run(context),
            Self::List(args) => args.run(context),
            Self::Versions(args) => args.run(context),
            Self::Delete(args) => args.run(context),
            Self::Restore(args) => args.run(context),
            Self::Purge(args) => args.run(context),
            Self::Check(args) => args.run(context),
            Self::Audit(args) => args.run(context),
            Self::Quickstart(args) => args.run(context),
            Self::Completions(args) => args.run(context),
            Self::Man(args) => args.run(context),
        }
    }
}

/// Every item of an answer that comes in pages.
fn all_pages<T>(mut ask: impl FnMut(&PageRequest) -> EngineResult<Page<T>>) -> Result<Vec<T>> {
    let mut request = PageRequest::first(PAGE);
    let mut items = Vec::new();
    loop {
        let page = ask(&request)?;
        items.extend(page.items);
        match page.next {
            Some(next) => request.after = Some(next),
            None => return Ok(items),
        }
    }
}
