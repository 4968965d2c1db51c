//! A policy document as IAM takes it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, Serializer};

use super::error::{PolicyError, PolicyResult};

/// How many characters a managed policy may have; white space is not counted (IAM
/// User Guide, "IAM and AWS STS quotas").
pub const MANAGED_POLICY_CHARACTERS: usize = 6144;
/// The same for a role's trust policy.
pub const TRUST_POLICY_CHARACTERS: usize = 2048;

/// A policy document. It serializes to the JSON that IAM takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Policy {
    version: &'static str,
    statement: Vec<Statement>,
}

/// One statement, which allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statement {
    sid: String,
    effect: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    principal: BTreeMap<&'static str, Texts>,
    action: Texts,
    #[serde(skip_serializing_if = "Texts::is_empty")]
    resource: Texts,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    condition: BTreeMap<&'static str, BTreeMap<String, Texts>>,
}

/// Texts, each once; one alone is written without a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Texts(BTreeSet<String>);

impl Policy {
    /// A policy of statements. What is allowed on the same resources under the same
    /// conditions becomes one statement.
    pub(super) fn of(statements: impl IntoIterator<Item = Statement>) -> Self {
        let mut merged: Vec<Statement> = Vec::new();
        for statement in statements {
            let same = merged.iter_mut().find(|one| {
                one.resource == statement.resource
                    && one.condition == statement.condition
                    && one.principal == statement.principal
            });
            match same {
                Some(one) => one.action.0.extend(statement.action.0),
                None => merged.push(statement),
            }
        }
        Self::numbered(merged)
    }

    /// Sids have to differ within a document.
    fn numbered(mut statement: Vec<Statement>) -> Self {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for one in &mut statement {
            let stem = one.sid.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
            let count = seen.entry(stem.clone()).or_default();
            *count += 1;
            one.sid = if *count == 1 { stem } else { format!("{stem}{count}") };
        }
        Self { version: "2012-10-17", statement }
    }

    /// The statements.
    #[must_use]
    pub fn statements(&self) -> &[Statement] {
        &self.statement
    }

    /// How many characters IAM counts.
    #[must_use]
    pub fn characters(&self) -> usize {
        let json = serde_json::to_string(self).unwrap_or_default();
        json.chars().filter(|c| !c.is_whitespace()).count()
    }

    /// This, if it has at most `limit` characters.
    ///
    /// # Errors
    /// `TooLarge`.
    pub fn within(self, limit: usize) -> PolicyResult<Self> {
        let characters = self.characters();
        if characters <= limit {
            return Ok(self);
        }
        Err(PolicyError::TooLarge { characters, limit })
    }

    /// The same in several documents, filled one after the other, each with at most `limit`
    /// characters. A role can have all of them.
    ///
    /// # Errors
    /// `TooLarge` if a single permission has more.
    pub fn split(self, limit: usize) -> PolicyResult<Vec<Self>> {
        let mut documents: Vec<Self> = Vec::new();
        let mut waiting: Vec<_> = self.statement.into_iter().rev().collect();
        while let Some(statement) = waiting.pop() {
            let alone = Self::numbered(vec![statement.clone()]);
            if alone.characters() > limit {
                let characters = alone.characters();
                let (one, other) =
                    statement.halves().ok_or(PolicyError::TooLarge { characters, limit })?;
                waiting.extend([other, one]);
                continue;
            }
            let longer = documents.iter().enumerate().find_map(|(place, document)| {
                let statements = document.statement.iter().cloned().chain([statement.clone()]);
                let longer = Self::numbered(statements.collect());
                (longer.characters() <= limit).then_some((place, longer))
            });
            match longer {
                Some((place, longer)) => documents[place] = longer,
                None => documents.push(alone),
            }
        }
        Ok(documents)
    }
}

impl Statement {
    /// Allows `actions`.
    pub(super) fn allow(sid: &str, actions: &[&str]) -> Self {
        Self {
            sid: sid.to_owned(),
            effect: "Allow",
            principal: BTreeMap::new(),
            action: actions.iter().copied().collect(),
            resource: Texts::default(),
            condition: BTreeMap::new(),
        }
    }

    /// Allows actions that AWS knows no resources for.
    pub(super) fn anywhere(actions: &[&str]) -> Self {
        Self::allow("AnyResource", actions).on(["*"])
    }

    pub(super) fn on<T: Into<String>>(mut self, resources: impl IntoIterator<Item = T>) -> Self {
        self.resource.0.extend(resources.into_iter().map(Into::into));
        self
    }

    /// Only where `key` has one of `values`, by `operator`.
    pub(super) fn only_if<T: Into<String>>(
        mut self,
        operator: &'static str,
        key: &str,
        values: impl IntoIterator<Item = T>,
    ) -> Self {
        let keys = self.condition.entry(operator).or_default();
        let texts = keys.entry(key.to_owned()).or_default();
        texts.0.extend(values.into_iter().map(Into::into));
        self
    }

    pub(super) fn to<T: Into<String>>(
        mut self,
        kind: &'static str,
        principals: impl IntoIterator<Item = T>,
    ) -> Self {
        let texts = self.principal.entry(kind).or_default();
        texts.0.extend(principals.into_iter().map(Into::into));
        self
    }

    /// The statement's name.
    #[must_use]
    pub fn sid(&self) -> &str {
        &self.sid
    }

    /// What it allows.
    pub fn actions(&self) -> impl Iterator<Item = &str> {
        self.action.0.iter().map(String::as_str)
    }

    /// On what.
    pub fn resources(&self) -> impl Iterator<Item = &str> {
        self.resource.0.iter().map(String::as_str)
    }

    /// Two that allow the same together.
    fn halves(&self) -> Option<(Self, Self)> {
        let halve = |texts: &Texts| {
            let half = texts.0.len() / 2;
            let one = Texts(texts.0.iter().take(half).cloned().collect());
            let other = Texts(texts.0.iter().skip(half).cloned().collect());
            (half > 0).then_some((one, other))
        };
        let with = |action: &Texts, resource: &Texts| {
            let (action, resource) = (action.clone(), resource.clone());
            Self { action, resource, ..self.clone() }
        };
        if let Some((one, other)) = halve(&self.resource) {
            return Some((with(&self.action, &one), with(&self.action, &other)));
        }
        let (one, other) = halve(&self.action)?;
        Some((with(&one, &self.resource), with(&other, &self.resource)))
    }
}

impl Texts {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> FromIterator<&'a str> for Texts {
    fn from_iter<I: IntoIterator<Item = &'a str>>(texts: I) -> Self {
        Self(texts.into_iter().map(str::to_owned).collect())
    }
}

impl Serialize for Texts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.first() {
            Some(one) if self.0.len() == 1 => serializer.serialize_str(one),
            _ => serializer.collect_seq(&self.0),
        }
    }
}
