//! What is said about one address: row, verdict and reason, as they stand in a job's results.

use serde::{Deserialize, Serialize};

/// One result row, for example
/// `{"email":"Ann@GMIAL.com","normalized":"Ann@gmial.com","verdict":"risky","reason":"typo","suggestion":"Ann@gmail.com"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The address as it stands in the list, without surrounding spaces.
    pub email: String,
    /// The normal form (see [`super::syntax::Address`]); null when the syntax is wrong.
    pub normalized: Option<String>,
    /// What to do with the address; always [`Reason::verdict`] of `reason`.
    pub verdict: Verdict,
    /// Why, as a stable code.
    pub reason: Reason,
    /// An address that was probably meant; null when there is none.
    pub suggestion: Option<String>,
}

/// What to do with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Mail for it has somewhere to go and nothing speaks against it.
    Valid,
    /// Mail for it cannot be delivered.
    Invalid,
    /// It may well work, but a person should look before mail is sent.
    Risky,
    /// DNS was not asked or did not answer, so nothing can be said.
    Unknown,
}

/// Why an address got its verdict. The codes (snake_case on the wire) are stable and the set is
/// closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Valid: the domain has mail exchangers.
    Accepted,
    /// Valid: the domain has no MX record, but an address record to which mail goes instead (RFC
    /// 5321, 5.1).
    AcceptedNoMx,

    /// Invalid: nothing but white space.
    SyntaxEmpty,
    /// Invalid: no `@`.
    SyntaxMissingAt,
    /// Invalid: more than 254 octets in normal form (RFC 3696, erratum 1690).
    SyntaxTooLong,
    /// Invalid: a name with an address in angle brackets; the address alone is the suggestion.
    SyntaxDisplayName,
    /// Invalid: nothing before the `@`.
    SyntaxLocalEmpty,
    /// Invalid: more than 64 octets before the `@` (RFC 5321, 4.5.3.1.1).
    SyntaxLocalTooLong,
    /// Invalid: the local part begins or ends with a dot, or has two in a row.
    SyntaxLocalDot,
    /// Invalid: a character that may not stand in the local part, or only in quotes.
    SyntaxLocalCharacter,
    /// Invalid: the quotes of the local part do not close, or there is text beside them.
    SyntaxLocalQuotes,
    /// Invalid: nothing after the `@`.
    SyntaxDomainEmpty,
    /// Invalid: the domain begins or ends with a dot, or has two in a row.
    SyntaxDomainDot,
    /// Invalid: a label of the domain begins or ends with a hyphen.
    SyntaxDomainHyphen,
    /// Invalid: a character that may not stand in a domain.
    SyntaxDomainCharacter,
    /// Invalid: a label over 63 or a domain over 253 octets (RFC 1035, 2.3.4).
    SyntaxDomainTooLong,
    /// Invalid: a single label (`ann@gmail`).
    SyntaxDomainNoDot,
    /// Invalid: the last label is a number, such as an IP address without its brackets (RFC 3696,
    /// 2).
    SyntaxDomainNumeric,
    /// Invalid: an internationalised label that UTS 46 refuses.
    SyntaxDomainIdna,
    /// Invalid: square brackets that do not hold an IP address (RFC 5321, 4.1.3).
    SyntaxAddressLiteral,

    /// Invalid: the domain is set aside by a standard (RFC 2606, 6761) and takes no mail.
    ReservedDomain,
    /// Invalid: the domain does not exist.
    DomainNotFound,
    /// Invalid: the domain says that it takes no mail (RFC 7505).
    NullMx,
    /// Invalid: the domain exists, but has neither MX nor address records.
    NoMailHost,

    /// Risky: an earlier line of the list has the same address.
    Duplicate,
    /// Risky: the domain looks like a slip in that of a big provider; `suggestion` has the likely
    /// address.
    Typo,
    /// Risky: the domain hands out throw-away mailboxes.
    Disposable,
    /// Risky: the address names a function (`info@`), not a person.
    RoleAccount,
    /// Risky: an IP address in place of a domain.
    AddressLiteral,

    /// Unknown: the checker runs without DNS.
    DnsNotChecked,
    /// Unknown: no answer from DNS in time.
    DnsTimeout,
    /// Unknown: DNS could not be reached or answered with a failure.
    DnsError,
}

impl Reason {
    /// The verdict that follows from this reason.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Accepted | Self::AcceptedNoMx => Verdict::Valid,
            Self::SyntaxEmpty
            | Self::SyntaxMissingAt
            | Self::SyntaxTooLong
            | Self::SyntaxDisplayName
            | Self::SyntaxLocalEmpty
            | Self::SyntaxLocalTooLong
            | Self::SyntaxLocalDot
            | Self::SyntaxLocalCharacter
            | Self::SyntaxLocalQuotes
            | Self::SyntaxDomainEmpty
            | Self::SyntaxDomainDot
            | Self::SyntaxDomainHyphen
            | Self::SyntaxDomainCharacter
            | Self::SyntaxDomainTooLong
            | Self::SyntaxDomainNoDot
            | Self::SyntaxDomainNumeric
            | Self::SyntaxDomainIdna
            | Self::SyntaxAddressLiteral
            | Self::ReservedDomain
            | Self::DomainNotFound
            | Self::NullMx
            | Self::NoMailHost => Verdict::Invalid,
            Self::Duplicate
            | Self::Typo
            | Self::Disposable
            | Self::RoleAccount
            | Self::AddressLiteral => Verdict::Risky,
            Self::DnsNotChecked | Self::DnsTimeout | Self::DnsError => Verdict::Unknown,
        }
    }
}
