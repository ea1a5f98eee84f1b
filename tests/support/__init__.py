"""What tests share; a contract's asserts are made to speak as a test module's do."""

import pytest

pytest.register_assert_rewrite("tests.support.courier_contract")
