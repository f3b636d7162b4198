import json

import pytest

from gateway.health import FAILURES
from gateway.policy.retry import answer
from gateway.upstreams import KINDS
from gateway.upstreams.base import Outcome, Verdict
from gateway.upstreams.judging import HIDDEN_ERROR, judge
from gateway.upstreams.newapi import KIND


def said(status: int, message: str = "", code: object = "", type_: str = "new_api_error") -> Outcome:
    body = {"error": {"message": message, "type": type_, "param": "", "code": code}}
    return judge(KIND, status=status, body=json.dumps(body, ensure_ascii=False).encode())


@pytest.mark.parametrize(
    ("status", "code", "message", "expected"),
    [
        # 401: one status for a bad key and for an empty one
        (401, "", "无效的令牌 (request id: 2026110812)", Verdict.CREDENTIALS),
        (401, "", "该令牌已过期", Verdict.CREDENTIALS),
        (401, "", "该令牌状态不可用", Verdict.CREDENTIALS),
        (401, "", "Invalid token", Verdict.CREDENTIALS),
        (401, None, "", Verdict.CREDENTIALS),
        (401, "", "该令牌额度已用尽 !token.UnlimitedQuota && token.RemainQuota = 0", Verdict.EXHAUSTED),
        (401, "", "[sk-abc***xyz] 该令牌额度已用尽", Verdict.EXHAUSTED),
        (401, "", "token QUOTA exhausted", Verdict.EXHAUSTED),
        # 403: the wallet, or a ban
        (403, "insufficient_user_quota", "用户额度不足, 剩余额度: ＄0.000000", Verdict.EXHAUSTED),
        (403, "insufficient_user_quota", "", Verdict.EXHAUSTED),
        (403, "pre_consume_token_quota_failed", "token's own limit", Verdict.EXHAUSTED),
        (403, "pre_consume_token_quota_failed", "", Verdict.EXHAUSTED),
        (403, "", "用户额度不足", Verdict.EXHAUSTED),
        (403, "", "预扣费额度失败, 余额不足", Verdict.EXHAUSTED),
        (403, "", "Insufficient balance", Verdict.EXHAUSTED),
        (403, "", "用户已被封禁", Verdict.CREDENTIALS),
        (403, "", "您的 IP 不在令牌允许访问的列表中", Verdict.CREDENTIALS),
        (403, "", "无权访问 vip 分组", Verdict.CREDENTIALS),
        (403, "access_denied", "该令牌无权访问模型 whisper-1", Verdict.CREDENTIALS),
        # no channel for the model
        (503, "model_not_found", "", Verdict.NO_MODEL),
        (503, "", "当前分组 default 下对于模型 whisper-1 无可用渠道（distributor）", Verdict.NO_MODEL),
        (503, "", "No available channel for model whisper-1", Verdict.NO_MODEL),
        (404, "model_not_found", "The model `x` does not exist", Verdict.NO_MODEL),
        (403, "model_not_found", "", Verdict.NO_MODEL),
        # busy
        (429, "", "当前分组上游负载已饱和，请稍后再试", Verdict.BUSY),
        (500, "", "当前分组上游负载已饱和，请稍后再试", Verdict.BUSY),
        (429, None, "Rate limit reached", Verdict.BUSY),
        (429, "token_concurrency_limit_reached", "", Verdict.BUSY),
        (429, "insufficient_quota", "You exceeded your current quota", Verdict.EXHAUSTED),
        # what is wrong with the request
        (500, "count_token_failed", "error getting audio duration: unsupported audio format: .webm", Verdict.NO_MODEL),
        (500, "invalid_request", "field model is required", Verdict.CALLER),
        (400, "", "bad", Verdict.CALLER),
        (400, "text_too_long", "", Verdict.CALLER),
        (413, "read_request_body_failed", "request body too large", Verdict.CALLER),
        (404, "", "Invalid URL (POST /v1/audio/x)", Verdict.CALLER),
        # its own trouble
        (500, "do_request_failed", "Post https://x: EOF", Verdict.FAILED),
        (500, "channel:no_available_key", "", Verdict.FAILED),
        (500, "convert_request_failed", "", Verdict.FAILED),
        (500, "request_error", "type invalid, code 400, message bad", Verdict.FAILED),
        (500, "unexpected_response_format", "", Verdict.FAILED),
        (502, "bad_response_status_code", "", Verdict.FAILED),
        (503, "", "overloaded", Verdict.FAILED),
        (504, "", "", Verdict.FAILED),
        # status 200 with an error in it
        (200, "", "令牌额度已用尽", Verdict.EXHAUSTED),
        (200, "", "quota exceeded", Verdict.EXHAUSTED),
        (200, "", "无效的令牌", Verdict.CREDENTIALS),
        (200, "", "Invalid Token", Verdict.CREDENTIALS),
        (200, "model_not_found", "", Verdict.NO_MODEL),
        (200, "", "something else", Verdict.FAILED),
        (200, 500, "", Verdict.FAILED),
    ],
)
def test_every_row_of_the_dialect(status: int, code: object, message: str, expected: Verdict) -> None:
    assert said(status, message, code).verdict is expected
    assert said(status, message, code, "one_api_error").verdict is expected


@pytest.mark.parametrize(
    ("status", "message"), [(401, "无效的令牌"), (401, "该令牌额度已用尽"), (403, "用户已被封禁"), (403, "余额不足")]
)
def test_its_401_and_403_are_never_told_as_the_callers(status: int, message: str) -> None:
    refusal = answer([said(status, message)])
    assert refusal.row.status not in {401, 403}
    assert message not in refusal.message


def test_an_empty_wallet_is_told_as_a_quota_that_no_sdk_retries() -> None:
    row = answer([said(403, "", "insufficient_user_quota")]).row
    assert (row.status, row.type, row.code, row.retry) == (429, "insufficient_quota", "insufficient_quota", "no")


def test_a_file_it_cannot_measure_is_not_held_against_it() -> None:
    assert said(500, "error getting audio duration", "count_token_failed").verdict not in FAILURES


def test_a_path_it_lacks_is_not_held_against_it() -> None:
    assert said(501, "API not implemented", "api_not_implemented").verdict not in FAILURES


def test_a_lack_of_permissions_is_no_empty_wallet() -> None:
    assert said(403, "You have insufficient permissions for this operation.").verdict is Verdict.CREDENTIALS


@pytest.mark.parametrize("code", [None, "", 0, 500, 1.5, True, ["x"], {"a": 1}])
def test_codes_of_any_json_type_reach_a_caller_as_a_string_or_null(code: object) -> None:
    told = answer([said(400, "bad", code)]).envelope()["error"]["code"]
    assert told is None or isinstance(told, str)


def test_request_ids_of_every_hop_are_cut_out() -> None:
    found = said(400, "上传的文件无效 (request id: 2026A) (request id: 2026B)")
    assert found.message == "上传的文件无效"


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "无效的令牌", "type": "new_api_error"}},
        {"error": {"message": "x", "type": "invalid_request_error", "param": "model", "code": "model_not_found"}},
        {"success": False, "message": "无效的令牌"},
    ],
)
def test_its_errors_behind_status_200_are_seen(body: dict[str, object]) -> None:
    assert KIND.hides_errors
    assert HIDDEN_ERROR.match(json.dumps(body, ensure_ascii=False).encode())
    assert judge(KIND, status=200, body=json.dumps(body).encode()).verdict is not Verdict.SERVED


def test_what_its_servers_can_do() -> None:
    assert KINDS["newapi"] is KIND
    assert "diarized_json" not in KIND.can.formats
    assert KIND.can.containers is not None
    assert KIND.can.containers.isdisjoint({"webm", "matroska", "mpeg", "mpga"})  # measured by extension: always fail
    assert not KIND.can.stream
    assert not KIND.can.chunked
