"""Documents for the page: some that are easily confused, one long one, and one that would like to run."""

from fr_reranker_plugin import StoredDocument

QUESTION = "Comment déclarer la naissance de mon enfant à la mairie ?"
HOSTILE = '<script>window.hacked = 1</script><img src="x" onerror="window.hacked = 2">'
ANSWER = "La naissance se déclare à la mairie dans les cinq jours qui suivent l'accouchement."

_TITLED = {
    "Déclarer une naissance": f"{ANSWER} Le père ou une personne présente s'en charge.",
    "Mairie": "La mairie ouvre à neuf heures. On y déclare aussi la perte d'une carte.",
    "Naissance d'un chiot": "La naissance d'un chiot ne se déclare pas ; le chien est identifié par puce.",
    "Enfant à l'école": "Pour inscrire un enfant à l'école, la mairie demande un justificatif de domicile.",
    "Déclarer ses revenus": "Comment déclarer ses revenus ? En ligne, au printemps, avec son numéro fiscal.",
    "Prime à la naissance": "La prime à la naissance se demande à la caisse d'allocations familiales.",
    "Congé de naissance": "Le congé de naissance dure trois jours ouvrables, pour le second parent.",
    "Acte de naissance": "Une copie de l'acte de naissance se demande à la mairie du lieu de naissance.",
    "Parc municipal": "Le parc municipal ferme à vingt heures en été, et à dix-huit heures en hiver.",
    "Piscine": "Le bonnet de bain est obligatoire à la piscine, pour les enfants aussi.",
    "Bibliothèque": "La bibliothèque prête dix livres pour trois semaines.",
    "Déchets": "Les encombrants se déposent à la déchèterie, sur présentation d'un justificatif.",
}
_OFF_TOPIC = "👨‍👩‍👧 Le règlement du marché fixe les heures des étals, la place des camions et le prix du mètre. "


def documents() -> list[StoredDocument]:
    """All documents; the long one has its answer far from its start, behind many emojis."""
    titled = [StoredDocument(title, f"{title}\n{text}", {"title": title}) for title, text in _TITLED.items()]
    long_text = f"Règlement communal\n{_OFF_TOPIC * 25}{ANSWER} {_OFF_TOPIC * 10}"
    return [
        *titled,
        StoredDocument("long", long_text, {"title": "Règlement communal"}),
        StoredDocument(HOSTILE, f"Naissance {HOSTILE}\n{HOSTILE} Déclarer une naissance à la mairie.", {"n": 1}),
    ]
