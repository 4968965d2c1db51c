//! Long lists, with folders.

use std::collections::BTreeSet;

use strongroom_core::{Kind, PageRequest, SecretStore};
use strongroom_kit::block_on;
use strongroom_vault::{KvVersion, VaultKv};

use super::{BOTH, connect, hvac, open_at, options, settings};
use crate::proxy;

const NAMES: usize = 2000;

/// As many names in one scope, some in others, and what is none of ours.
const FILL: &str = "
kv, base, count = {'1': one, '2': two}[sys.argv[1]], sys.argv[2], int(sys.argv[3])
for n in range(count): kv.write(f'{base}/acme/ops/@n{n:05}', dict(value='x'))
for scope in ['acme', 'acme/ops/web', 'acme/ops.x/web', 'acme/zoo/a', 'acme/zoo/b']:
    kv.write(f'{base}/{scope}/@own', {'value': 'x', 'strongroom-kind:file': ''})
for path in ['acme/ops/none-of-ours', 'acme/ops/@a b', 'acme/a/b/c/@deep', 'other/@x']:
    kv.write(f'{base}/{path}', dict(value='x'))
";

fn filled(version: KvVersion, vault: &strongroom_vault::Vault, count: usize) -> VaultKv {
    let (number, base) = if version == KvVersion::One { ("1", "list-1") } else { ("2", "list-2") };
    hvac(FILL, &[number, base, &count.to_string()]);
    open_at(vault, options(version, base))
}

#[test]
fn thousands_of_names_come_in_pages() {
    for version in BOTH {
        let proxy = proxy();
        let store = filled(version, &connect(&settings(&proxy.endpoint())), NAMES);
        let scope = "acme/ops".parse().unwrap();
        let (mut ids, mut page) = (Vec::new(), PageRequest::first(300));
        loop {
            proxy.reset_counts();
            let found = block_on(store.list(&scope, false, &page)).unwrap();
            ids.extend(found.items.iter().map(|item| item.name.id().to_owned()));
            assert!(proxy.requests().len() <= 1 + found.items.len() + 8, "asked too often");
            let Some(next) = found.next else { break };
            assert_eq!(found.items.len(), 300);
            page.after = Some(next);
        }
        let expected: Vec<_> = (0..NAMES).map(|n| format!("n{n:05}")).collect();
        assert!(ids == expected, "{} names", ids.len());

        let (mut names, mut page) = (BTreeSet::new(), PageRequest::first(300));
        loop {
            let found = block_on(store.names(None, &page)).unwrap();
            for name in found.items {
                assert!(names.insert(format!("{}:{}", name.scope(), name.id())), "{name} again");
            }
            let Some(next) = found.next else { break };
            page.after = Some(next);
        }
        assert_eq!(names.len(), NAMES + 5, "{version:?}");
        let page = PageRequest::first(10);
        let web = block_on(store.list(&"acme/ops/web".parse().unwrap(), false, &page)).unwrap();
        assert_eq!((web.items.len(), web.items[0].kind), (1, Kind::File));
    }
}
