<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Joomla\CMS\WebAsset;

class WebAssetManager
{
    public array $active = [];

    public function __construct(private WebAssetRegistry $registry)
    {
    }

    public function getRegistry(): WebAssetRegistry
    {
        return $this->registry;
    }

    public function isAssetActive(string $type, string $name): bool
    {
        return isset($this->active[$type][$name]);
    }

    public function useAsset(string $type, string $name): self
    {
        if (!isset($this->registry->extensions[strstr($name, '.', true)])) {
            throw new \RuntimeException('There is no asset ' . $name . '.');
        }

        foreach ($type === 'preset' ? ['script', 'style'] : [$type] as $one) {
            $this->active[$one][$name] = true;
        }

        return $this;
    }

    public function useScript(string $name): self
    {
        return $this->useAsset('script', $name);
    }

    public function usePreset(string $name): self
    {
        return $this->useAsset('preset', $name);
    }
}
