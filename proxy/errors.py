"""The errors that a client may see, each with its SQLSTATE.

Owns the tree below and nothing else: who raises decides the words, `session` alone turns an error
into an ErrorResponse.

    ProxyError                    XX000
      RemoteProtocolError         08P01   a peer broke the wire protocol
      LocalProtocolError          XX000   we were about to break it
      ModelSyntaxError            42601
      UnsupportedError            0A000
      UnknownModelError           42704
      DuplicateModelError         42710
      InvalidParameterError       22023
      UndefinedColumnError        42703
      DatatypeMismatchError       42804
      UndefinedFunctionError      42883
      InsufficientPrivilegeError  42501
      TooLargeError               54000
        OutOfMemoryError          53200   and be it only the memory that we allow
      QueryCanceledError          57014
      AdminShutdownError          57P01
      TooManyClientsError         53300
      UpstreamError               08006   the upstream connection was lost
      UpstreamRefusedError        08001   it could not be made
      AuthenticationError         28000
      ArtifactError               XX001
      NoTrainingRowsError         ML001
      SingleClassError            ML002
      SettingsError               F0000   the configuration file is wrong
"""

from __future__ import annotations


class ProxyError(Exception):
    """An error with everything that an ErrorResponse can say about it.

    Parameters
    ----------
    message : the primary message, in PostgreSQL's style: lower case, no full stop
    detail, hint : whole sentences, or None
    position : 1-based character offset into the statement's text, or None
    """

    sqlstate = "XX000"

    def __init__(
        self,
        message: str,
        *,
        detail: str | None = None,
        hint: str | None = None,
        position: int | None = None,
        sqlstate: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.hint = hint
        self.position = position
        if sqlstate is not None:
            self.sqlstate = sqlstate


class RemoteProtocolError(ProxyError):
    """A peer sent bytes that the protocol does not allow."""

    sqlstate = "08P01"


class LocalProtocolError(ProxyError):
    """A message of ours would not fit the protocol; raised before a byte is written."""

    sqlstate = "XX000"


class ModelSyntaxError(ProxyError):
    """The text begins as a statement of ours and does not go on as one."""

    sqlstate = "42601"


class UnsupportedError(ProxyError):
    """The statement is understood and cannot be honoured."""

    sqlstate = "0A000"


class UnknownModelError(ProxyError):
    """No model, version or algorithm of that name."""

    sqlstate = "42704"


class DuplicateModelError(ProxyError):
    """The name is taken."""

    sqlstate = "42710"


class InvalidParameterError(ProxyError):
    """A hyper-parameter is unknown or out of its range."""

    sqlstate = "22023"


class UndefinedColumnError(ProxyError):
    """A column that the statement needs is missing."""

    sqlstate = "42703"


class DatatypeMismatchError(ProxyError):
    """A value's type is not one that can be used here."""

    sqlstate = "42804"


class UndefinedFunctionError(ProxyError):
    """A call has arguments that do not fit."""

    sqlstate = "42883"


class InsufficientPrivilegeError(ProxyError):
    """The role may not do this."""

    sqlstate = "42501"


class TooLargeError(ProxyError):
    """A limit of ours would be passed."""

    sqlstate = "54000"


class OutOfMemoryError(TooLargeError):
    """There is less memory than is needed, or than may be used."""

    sqlstate = "53200"


class QueryCanceledError(ProxyError):
    """The client, or a timeout, asked to stop."""

    sqlstate = "57014"


class AdminShutdownError(ProxyError):
    """The proxy is stopping."""

    sqlstate = "57P01"


class TooManyClientsError(ProxyError):
    """The configured number of clients is reached."""

    sqlstate = "53300"


class UpstreamError(ProxyError):
    """The upstream connection was lost."""

    sqlstate = "08006"


class UpstreamRefusedError(ProxyError):
    """The upstream connection could not be made."""

    sqlstate = "08001"


class AuthenticationError(ProxyError):
    """The login cannot be carried out."""

    sqlstate = "28000"


class ArtifactError(ProxyError):
    """A stored model's bytes are not what was stored."""

    sqlstate = "XX001"


class NoTrainingRowsError(ProxyError):
    """The training query returned no usable row."""

    sqlstate = "ML001"


class SingleClassError(ProxyError):
    """The target has one class only."""

    sqlstate = "ML002"


class SettingsError(ProxyError):
    """The configuration cannot be used as written."""

    sqlstate = "F0000"
