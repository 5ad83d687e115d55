//! Role accounts: local parts that name a function and are read by several people or by none.

/// Whether the local part (in normal form) names a function rather than a person.
///
/// Case, `.`, `-` and `_` do not count (`No-Reply`), nor does a subaddress (`info+web`, RFC 5233).
/// Only whole words match: `infos.martin` is a person.
pub(super) fn is_role(local: &str) -> bool {
    let word: String = local
        .split('+')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|character| !matches!(character, '.' | '-' | '_'))
        .map(|character| character.to_ascii_lowercase())
        .collect();
    ROLES.binary_search(&word.as_str()).is_ok()
}

/// The mailbox names of RFC 2142, and those that lists of customers are most often found to hold.
/// Sorted.
const ROLES: &[&str] = &[
    "abuse",
    "accounting",
    "accounts",
    "admin",
    "administrator",
    "admissions",
    "advertising",
    "billing",
    "bookings",
    "bounce",
    "bounces",
    "buchhaltung",
    "career",
    "careers",
    "compliance",
    "comptabilite",
    "contact",
    "contacto",
    "contactus",
    "contato",
    "customercare",
    "customerservice",
    "customersupport",
    "datenschutz",
    "devnull",
    "donotreply",
    "dpo",
    "editor",
    "enquiries",
    "enquiry",
    "events",
    "everyone",
    "feedback",
    "finance",
    "frontdesk",
    "ftp",
    "hello",
    "help",
    "helpdesk",
    "hostmaster",
    "hr",
    "impressum",
    "info",
    "information",
    "inquiries",
    "inquiry",
    "invoice",
    "invoices",
    "itsupport",
    "jobs",
    "kontakt",
    "legal",
    "list",
    "listrequest",
    "mailerdaemon",
    "marketing",
    "media",
    "news",
    "newsletter",
    "noc",
    "noreply",
    "notifications",
    "office",
    "operations",
    "orders",
    "partners",
    "payments",
    "postmaster",
    "press",
    "presse",
    "privacy",
    "purchasing",
    "receipts",
    "reception",
    "recruiting",
    "recruitment",
    "reply",
    "reservations",
    "returns",
    "root",
    "sales",
    "security",
    "service",
    "shop",
    "soporte",
    "spam",
    "staff",
    "subscribe",
    "support",
    "sysadmin",
    "team",
    "techsupport",
    "unsubscribe",
    "usenet",
    "uucp",
    "vendas",
    "ventas",
    "verkauf",
    "webmaster",
    "welcome",
    "www",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_sorted_for_the_search() {
        assert!(ROLES.is_sorted());
    }

    #[test]
    fn roles_are_told_from_people() {
        for local in [
            "info",
            "INFO",
            "no-reply",
            "No_Reply",
            "do.not.reply",
            "sales+eu",
            "list-request",
        ] {
            assert!(is_role(local), "{local}");
        }
        for local in [
            "infos.martin",
            "ann.sales",
            "support99x",
            "",
            "+",
            "adminah",
            "\"info desk\"",
        ] {
            assert!(!is_role(local), "{local}");
        }
    }
}
