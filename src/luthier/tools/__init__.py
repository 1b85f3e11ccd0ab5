"""What may a model call? Tools, where they come from, and what they are allowed to do."""

from luthier.tools.function_tool import tool_of
from luthier.tools.limits import ToolLimits
from luthier.tools.open_tools import open_toolbox
from luthier.tools.permissions import Permissions
from luthier.tools.tool import Tool, ToolCard, ToolSource
from luthier.tools.toolbox import Toolbox

__all__ = [
    "Permissions",
    "Tool",
    "ToolCard",
    "ToolLimits",
    "ToolSource",
    "Toolbox",
    "open_toolbox",
    "tool_of",
]
