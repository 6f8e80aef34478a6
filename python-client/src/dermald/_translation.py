"""Our sentences in the visitor's language: Django's where Django is set up, else the process's.

Owns the way to the catalogue, which is Django's own format and place (`django/locale`), so that a
site can overrule a sentence in its LOCALE_PATHS. Knows no sentence.
"""

from __future__ import annotations

import sys
from functools import cache
from gettext import NullTranslations, translation
from pathlib import Path

_LOCALES = Path(__file__).parent / "django" / "locale"
_DOMAIN = "django"


def django_is_set_up() -> bool:
    """Whether this process runs a Django site. Does not import Django to find out."""
    conf = sys.modules.get("django.conf")
    return conf is not None and bool(conf.settings.configured)


def translated(text: str) -> str:
    """`text` in the active language; itself where there is no translation."""
    if not django_is_set_up():
        return _catalogue(None).gettext(text)
    from django.utils.translation import get_language, gettext

    said = gettext(text)
    language = get_language()
    if said != text or language is None:
        return said
    # Django reads the catalogues of installed apps only, and none with USE_I18N off; the drop-in
    # works in both sites.
    return _catalogue(language).gettext(text)


def translated_lazily(text: str) -> str:
    """Stands for `text` in the language that is active when it is shown. Under Django only."""
    from django.utils.functional import lazy

    return lazy(translated, str)(text)


@cache
def _catalogue(language: str | None) -> NullTranslations:
    names = None if language is None else [_locale_name(language), language.split("-")[0]]
    return translation(_DOMAIN, str(_LOCALES), names, fallback=True)


def _locale_name(language: str) -> str:
    base, _, region = language.partition("-")
    return f"{base}_{region.upper()}" if region else base
